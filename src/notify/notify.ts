import type { Cursor } from "../model/cursor.ts";
import type { Draft, Outcome, Target } from "../model/entry.ts";
import { allows, type Channel, type Channels, type KeycloakId } from "../model/names.ts";
import { Problem } from "../model/problem.ts";
import { createBodyParser, splitKey, type Body, type BodyLimits } from "./body.ts";
import { fingerprint, idempotencyKey, type createIdempotency, type Memo } from "./idempotency.ts";
import { receiptOf, type Receipt } from "./receipt.ts";

/** An API key, as configured. */
export interface ApiKey {
  readonly name: string;
  readonly channels: Channels;
  readonly admin: boolean;
}

/** What becomes of a notification once it is appended: see the journal. */
export interface Appended {
  readonly cursor: Cursor;
  readonly outcome: Outcome;
}

export interface NotifyNeeds {
  readonly apiKeys: {
    find(secret: string): ApiKey | undefined;
    hasExpired(secret: string): boolean;
  };
  /** Throws `rate_limited`. */
  readonly limitRate: (apiKey: ApiKey) => void;
  readonly knows: (channel: Channel) => boolean;
  /** Throws `held_full`, or keeps the room until the returned function is called. */
  readonly reserve: (users: readonly KeycloakId[], bytes: number) => () => void;
  readonly append: (draft: Draft, memo?: Memo) => Promise<Appended>;
  readonly once: ReturnType<typeof createIdempotency<Receipt>>;
  /** Whom a notification would reach now: for a repeat whose first answer was never given. */
  readonly count: (target: Target) => Outcome;
  readonly limits: BodyLimits;
  readonly onAccepted: (accepted: { receipt: Receipt; apiKey: ApiKey; target: Target; requestId: string }) => void;
}

export interface NotifyRequest {
  readonly id: string;
  /** The key, where a header brings it. */
  readonly apiKey: string | undefined;
  readonly headers: Headers;
  readonly readText: () => Promise<string>;
}

export interface Notified {
  readonly receipt: Receipt;
  /** This is the receipt of an earlier request with the same Idempotency-Key. */
  readonly replayed: boolean;
}

/** `POST /notify`: the key, then the body, then the rights; then the journal, which makes it durable and hands it on. */
export function createNotify(needs: NotifyNeeds): (request: NotifyRequest) => Promise<Notified> {
  const { parseJson, parseBody } = createBodyParser(needs.limits);

  return async function notify(request) {
    // A wrong key in a header is refused before a byte of the body is read.
    const knownKey = request.apiKey === undefined ? undefined : admit(request.apiKey);
    requireJson(request.headers.get("content-type"));
    const { apiKey: bodyKey, rest } = splitKey(parseJson(await request.readText()));
    const apiKey = knownKey ?? admit(bodyKey);
    const body = parseBody(rest);
    const target = narrow(body, apiKey);
    const key = idempotencyKey(request.headers);
    if (key === undefined) return { receipt: await accept(undefined), replayed: false };
    const memo = { scope: apiKey.name, key, fingerprint: fingerprint(body) };
    return needs.once(
      memo,
      () => accept(memo),
      (cursor) => receiptOf({ cursor, outcome: needs.count(target) }, body.ttl),
    );

    async function accept(withMemo: Memo | undefined): Promise<Receipt> {
      const json = JSON.stringify(body.msg);
      // Several may be on their way into the journal: each counts from now on, not from when it is on the shelf.
      const giveBack = body.ttl > 0 ? needs.reserve(target.users ?? [], json.length) : undefined;
      try {
        const draft = { kind: "notification", target, json, ttl_seconds: body.ttl } as const;
        const receipt = receiptOf(await needs.append(draft, withMemo), body.ttl);
        needs.onAccepted({ receipt, apiKey, target, requestId: request.id });
        return receipt;
      } finally {
        giveBack?.();
      }
    }
  };

  function admit(secret: unknown): ApiKey {
    if (secret === undefined) throw new Problem("api_key_invalid", { guess: false });
    if (typeof secret !== "string") throw new Problem("api_key_invalid");
    const apiKey = needs.apiKeys.find(secret);
    if (apiKey === undefined) throw new Problem("api_key_invalid", { guess: !needs.apiKeys.hasExpired(secret) });
    needs.limitRate(apiKey);
    return apiKey;
  }

  /** What the body names, within what the key may reach. */
  function narrow({ keycloak: users, channel: channels }: Body, apiKey: ApiKey): Target {
    const forbidden = channels?.filter((channel) => !allows(apiKey.channels, channel) || !needs.knows(channel)) ?? [];
    if (forbidden.length > 0) {
      throw new Problem("channel_forbidden", { detail: `This key may not notify ${forbidden.join(", ")}.` });
    }
    if (users === undefined) return { channels: channels ?? [] };
    return { users, channels: channels ?? (apiKey.channels === "*" ? undefined : apiKey.channels) };
  }
}

/** No Content-Type at all counts as JSON. `curl -d` says it sends a form: the commonest mistake, so tell the remedy. */
function requireJson(contentType: string | null): void {
  if (contentType === null || /^application\/([\w.-]+\+)?json\s*(;|$)/i.test(contentType)) return;
  throw new Problem("unsupported_media_type", { detail: "Send the header `Content-Type: application/json`." });
}
