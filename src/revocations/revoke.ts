import type { Outcome, Revocation, Revoked } from "../model/entry.ts";

export interface Revoker {
  /** It is in force before this returns, and in the journal as soon as the journal can take it. */
  revoke(revoked: Revoked): Promise<{
    /** How many it ended. */
    readonly connections: number;
    /** The journal has it: it will outlive a restart. */
    readonly saved: boolean;
  }>;
  /** How many are not in the journal yet. */
  readonly unsaved: number;
  /** A last attempt; resolves with those that the journal has not taken. */
  stop(): Promise<readonly Revoked[]>;
}

export interface RevokerNeeds {
  /** Puts it in force on this node, and tells how many connections it ended. */
  readonly apply: (revoked: Revoked) => number;
  /** Puts it into the journal, which every node follows. */
  readonly append: (revocation: Revocation) => Promise<{ readonly outcome: Outcome }>;
  /** How many wait for the journal, whenever that has refused one; 0 when it has taken the last. */
  readonly onUnsaved: (unsaved: number) => void;
  readonly retry_ms?: number;
}

/**
 * Nobody repeats a logout: Keycloak sends it once. So it is in force at once, whatever the journal says, and kept for the
 * journal until that takes it: a full disk must not bring a session back at the next restart, or leave it alive elsewhere.
 */
export function createRevoker({ apply, append, onUnsaved, retry_ms = 1000 }: RevokerNeeds): Revoker {
  const unsaved = new Set<Revocation>();
  let timer: Timer | undefined;

  async function revoke(revoked: Revoked): ReturnType<Revoker["revoke"]> {
    const here = apply(revoked);
    const revocation: Revocation = { kind: "revocation", ...revoked };
    const elsewhere = await save(revocation);
    return { connections: here + elsewhere, saved: !unsaved.has(revocation) };
  }

  async function save(revocation: Revocation): Promise<number> {
    try {
      const { outcome } = await append(revocation);
      if (unsaved.delete(revocation) && unsaved.size === 0) onUnsaved(0);
      return outcome.connections;
    } catch {
      unsaved.add(revocation);
      onUnsaved(unsaved.size);
      timer ??= setTimeout(() => void retry(), retry_ms);
      return 0;
    }
  }

  /** In order, and no further than the first that fails: the next would fail, too. */
  async function retry(): Promise<void> {
    for (const revocation of unsaved) {
      await save(revocation);
      if (unsaved.has(revocation)) break;
    }
    timer = unsaved.size > 0 ? setTimeout(() => void retry(), retry_ms) : undefined;
  }

  return {
    revoke,
    get unsaved() {
      return unsaved.size;
    },
    async stop() {
      clearTimeout(timer);
      await retry();
      clearTimeout(timer);
      return [...unsaved];
    },
  };
}
