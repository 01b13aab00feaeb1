import { Problem } from "../model/problem.ts";
import type { Events } from "../observe/events.ts";
import { cut, endFor, whoOn, type Session } from "./sessions.ts";

/** The polls of engine connections, and the proof that the answer to one was lost. */
export interface Polls {
  /** Follows a session from its handshake on, as long as it polls. */
  open(session: Session): void;
  /**
   * A poll has come. Ends its session if it is the last one again, with the same mark (the `t` of its query, which a stock
   * client makes anew for each): a browser repeats a GET by itself when a connection that has served before ends without an
   * answer, and what was in that answer is lost. The client comes back, and recovery gives it everything.
   */
  polled(id: string, mark: string): void;
  /** The session of this id, as long as it polls. */
  get(id: string): Session | undefined;
  /**
   * Data has come for a session: resolves as `take` does, which reads it. Throws `invalid_request`, and ends the session, if its
   * last data are still on their way, as Engine.IO does. Ends it, too, if these do not come whole, or are too large.
   */
  posted<T>(id: string, take: () => Promise<T>): Promise<T>;
}

type Mark = ReturnType<typeof Bun.hash>;

export function createPolls(events: Pick<Events["connections"], "answerLost" | "sentTooMuch">): Polls {
  const polling = new Map<string, { readonly session: Session; mark: Mark | undefined; isPosting: boolean }>();

  function open(session: Session): void {
    const { engine } = session;
    if (engine.transport.name !== "polling") return;
    polling.set(engine.id, { session, mark: undefined, isPosting: false });
    const forget = (): void => void polling.delete(engine.id);
    engine.on("upgrade", forget);
    engine.on("close", forget);
  }

  function polled(id: string, mark: string): void {
    const poll = polling.get(id);
    // Some clients mark none of their polls, so that all of them are equal.
    if (poll === undefined || mark === "") return;
    // Not the text itself, of which a stranger could leave some KiB with each session.
    const digest = Bun.hash(mark);
    if (poll.mark !== digest) {
      poll.mark = digest;
      return;
    }
    events.answerLost();
    // To close it would first hand out what waits, which would then follow a gap.
    end(poll.session, "poll answer lost");
  }

  async function posted<T>(id: string, take: () => Promise<T>): Promise<T> {
    const poll = polling.get(id);
    if (poll?.isPosting !== false) {
      if (poll !== undefined) end(poll.session, "two posts at once");
      throw new Problem("invalid_request", { detail: "The session has ended: a client sends one POST at a time." });
    }
    poll.isPosting = true;
    try {
      return await take();
    } catch (error) {
      const code = error instanceof Problem ? error.code : undefined;
      if (code === "too_large") events.sentTooMuch("max_client_bytes", whoOn(poll.session));
      // At the stop, its client is still to be told to come back.
      if (code !== "draining") end(poll.session, code === "too_large" ? "max_client_bytes" : "post cut off");
      throw error;
    } finally {
      poll.isPosting = false;
    }
  }

  return { open, polled, posted, get: (id) => polling.get(id)?.session };
}

function end(session: Session, why: string): void {
  endFor(session, why);
  cut(session.engine);
}
