import type { Settings } from "../settings/schema.ts";
import type { Ending } from "./ending.ts";

/** What proxies let pass by default: nginx's `client_max_body_size`. */
const proxied_bytes = 1024 ** 2;
const patience_ms = 2000;
/** Bun reads each into 64 KiB. */
const mostAtOnce = 256;

/**
 * Resolves when the rest of a body that nobody reads has come, and was dropped. Only for a connection that ends with the answer:
 * to close it while its sender still writes is a reset, which takes the answer with it (RFC 9112 9.6), and which proxies make a
 * 502. Where a connection stays, Bun drops the rest by itself after the answer.
 */
export type DropRest = (req: Request) => Promise<void>;

/** Waits for no more than a sender of good will has left, so that others can hold up little; at the stop, for nothing. */
export function createDropRest(
  { max_body_bytes }: Pick<Settings, "max_body_bytes">,
  { cutting }: Pick<Ending, "cutting">,
): DropRest {
  let dropping = 0;

  return async ({ body, signal }) => {
    if (cutting.aborted || dropping >= mostAtOnce || body === null || body.locked) return;
    const reader = body.getReader();
    const end = (): void => void reader.cancel().catch(() => undefined);
    const timer = setTimeout(end, patience_ms);
    // Where the client goes away, Bun would keep its memory.
    const ends = AbortSignal.any([cutting, signal]);
    ends.addEventListener("abort", end);
    dropping++;
    try {
      for (let left_bytes = Math.max(max_body_bytes, proxied_bytes); left_bytes >= 0;) {
        const { done, value } = await reader.read();
        if (done) return;
        left_bytes -= value.byteLength;
      }
      end();
    } catch {
      // The client has gone.
    } finally {
      clearTimeout(timer);
      ends.removeEventListener("abort", end);
      dropping--;
    }
  };
}
