import type { Access } from "../authorize/access.ts";
import { requireApiKey } from "../authorize/secrets.ts";
import type { Journal } from "../journal/journal.ts";
import type { Gate } from "../limits/gate.ts";
import type { Target } from "../model/entry.ts";
import { allows } from "../model/names.ts";
import { Problem } from "../model/problem.ts";
import type { Events } from "../observe/events.ts";
import type { Trail } from "../observe/trail.ts";
import type { ApiKey } from "../settings/credentials.ts";
import { createBodyParser, splitKey, type Body, type BodyLimits } from "./body.ts";
import { fingerprint, idempotencyKey } from "./idempotency.ts";
import { receiptOf, type Receipt } from "./receipt.ts";

export interface NotifyRequest {
  readonly trail: Trail;
  /** The key, where a header brings it. */
  readonly apiKey: string | undefined;
  readonly idempotencyKey: string | null;
  /** Reads the body as JSON text. Throws what is wrong with it. */
  readonly readJson: () => Promise<string>;
}

export interface Notified {
  readonly receipt: Receipt;
  /** This is the receipt of an earlier request with the same Idempotency-Key. */
  readonly replayed: boolean;
}

export type Notify = (request: NotifyRequest) => Promise<Notified>;

/** `POST /notify`: the key, then the body, then the rights; then the journal, which makes it durable and hands it on. */
export function createNotify(
  limits: BodyLimits,
  needs: {
    readonly access: Pick<Access, "apiKeys" | "knows">;
    readonly gate: Pick<Gate, "notify">;
    readonly journal: Pick<Journal, "append">;
    readonly events: Pick<Events["journal"], "notified" | "repeated">;
  },
): Notify {
  const { access, gate, journal, events } = needs;
  const { parseJson, parseBody } = createBodyParser(limits);

  return async function notify(request) {
    const { trail } = request;
    // A wrong key in a header is refused before a byte of the body is read.
    const headerKey = request.apiKey === undefined ? undefined : admit(request.apiKey, trail);
    const { apiKey: bodyKey, rest } = splitKey(parseJson(await request.readJson()));
    const apiKey = headerKey ?? admit(bodyKey, trail);
    const body = parseBody(rest);
    Object.assign(trail, { keycloak: body.keycloak, channel: body.channel });
    const target = narrow(body, apiKey);
    const key = idempotencyKey(request.idempotencyKey);
    const memo = key === undefined ? undefined : { scope: apiKey.name, key, fingerprint: fingerprint(body) };
    const draft = { kind: "notification", target, json: JSON.stringify(body.msg), ttl_seconds: body.ttl } as const;
    const { kind, placed } = await journal.append([draft], memo);
    const [place] = placed;
    if (place === undefined) throw new Error("a draft has a place");
    const receipt = receiptOf(place, body.ttl);
    if (kind === "repeated") events.repeated(receipt.id, trail);
    else events.notified(receipt, target, trail);
    return { receipt, replayed: kind === "repeated" };
  };

  function admit(secret: unknown, trail: Trail): ApiKey {
    const apiKey = requireApiKey(access.apiKeys, secret, trail);
    gate.notify(apiKey);
    return apiKey;
  }

  /** What the body names, within what the key may reach. */
  function narrow({ keycloak: users, channel: channels }: Body, apiKey: ApiKey): Target {
    const forbidden = channels?.filter((name) => !allows(apiKey.channels, name) || !access.knows(name)) ?? [];
    if (forbidden.length > 0) {
      throw new Problem("channel_forbidden", { detail: `This key may not notify ${forbidden.join(", ")}.` });
    }
    if (users === undefined) return { channels: channels ?? [] };
    return { users, channels: channels ?? (apiKey.channels === "*" ? undefined : apiKey.channels) };
  }
}
