import type { Events } from "../observe/events.ts";
import type { EngineSocket } from "./connection.ts";
import { cut } from "./sessions.ts";

/** The polls of engine connections, and the proof that the answer to one was lost. */
export interface Polls {
  /** Follows an engine connection from its handshake on, as long as it polls. */
  open(engine: EngineSocket): void;
  /**
   * A poll has come. Ends its session if it is the last one again, with the same mark (the `t` of its query, which a stock
   * client makes anew for each): a browser repeats a GET by itself when a connection that has served before ends without an
   * answer, and what was in that answer is lost. The client comes back, and recovery gives it everything.
   */
  polled(id: string, mark: string): void;
}

export function createPolls(events: Pick<Events["connections"], "answerLost">): Polls {
  const polling = new Map<string, { readonly engine: EngineSocket; mark: string }>();

  function open(engine: EngineSocket): void {
    if (engine.transport.name !== "polling") return;
    polling.set(engine.id, { engine, mark: "" });
    const forget = (): void => void polling.delete(engine.id);
    engine.on("upgrade", forget);
    engine.on("close", forget);
  }

  function polled(id: string, mark: string): void {
    const poll = polling.get(id);
    // Some clients mark none of their polls, so that all of them are equal.
    if (poll === undefined || mark === "") return;
    if (poll.mark !== mark) {
      poll.mark = mark;
      return;
    }
    events.answerLost();
    // To close it would first hand out what waits, which would then follow a gap.
    cut(poll.engine);
  }

  return { open, polled };
}
