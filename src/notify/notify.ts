import type { Access } from "../authorize/access.ts";
import { requireApiKey } from "../authorize/secrets.ts";
import type { Fanout } from "../connections/fanout.ts";
import type { Held } from "../journal/held.ts";
import type { Journal, Memo } from "../journal/journal.ts";
import type { Gate } from "../limits/gate.ts";
import type { Target } from "../model/entry.ts";
import { allows } from "../model/names.ts";
import { Problem } from "../model/problem.ts";
import type { Events } from "../observe/events.ts";
import type { ApiKey } from "../settings/credentials.ts";
import { createBodyParser, splitKey, type Body, type BodyLimits } from "./body.ts";
import { createIdempotency, fingerprint, idempotencyKey } from "./idempotency.ts";
import { receiptOf, type Receipt } from "./receipt.ts";

export interface NotifyRequest {
  readonly id: string;
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
    readonly held: Pick<Held, "reserve">;
    readonly journal: Journal;
    readonly fanout: Pick<Fanout, "count">;
    readonly events: Pick<Events["journal"], "notified">;
  },
): Notify {
  const { access, gate, held, journal, fanout, events } = needs;
  const { parseJson, parseBody } = createBodyParser(limits);
  const once = createIdempotency(journal);

  return async function notify(request) {
    // A wrong key in a header is refused before a byte of the body is read.
    const headerKey = request.apiKey === undefined ? undefined : admit(request.apiKey);
    const { apiKey: bodyKey, rest } = splitKey(parseJson(await request.readJson()));
    const apiKey = headerKey ?? admit(bodyKey);
    const body = parseBody(rest);
    const target = narrow(body, apiKey);
    const key = idempotencyKey(request.idempotencyKey);
    if (key === undefined) return { receipt: await accept(undefined), replayed: false };
    const memo = { scope: apiKey.name, key, fingerprint: fingerprint(body) };
    return once(
      memo,
      () => accept(memo),
      (cursor) => receiptOf({ cursor, outcome: fanout.count(target) }, body.ttl),
    );

    async function accept(withMemo: Memo | undefined): Promise<Receipt> {
      const json = JSON.stringify(body.msg);
      // Several may be on their way into the journal: each counts from now on, not from when it is on the shelf.
      const giveBack = body.ttl > 0 ? held.reserve(target.users ?? [], Buffer.byteLength(json)) : undefined;
      try {
        const draft = { kind: "notification", target, json, ttl_seconds: body.ttl } as const;
        const receipt = receiptOf(await journal.append(draft, withMemo), body.ttl);
        const { id, connections, held: isHeld } = receipt;
        events.notified({ id, target, connections, held: isHeld, key: apiKey.name, requestId: request.id });
        return receipt;
      } finally {
        giveBack?.();
      }
    }
  };

  function admit(secret: unknown): ApiKey {
    const apiKey = requireApiKey(access.apiKeys, secret);
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
