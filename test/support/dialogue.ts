import { connect, type Socket } from "node:net";
import { parseAnswers, until, type Answer } from "./raw.ts";

const open = new Set<Socket>();

export function closeDialogues(): void {
  for (const socket of open) socket.destroy();
  open.clear();
}

/** A TCP connection on which several requests are written by hand. Closed after the test by itself. */
export interface Dialogue {
  write(bytes: string): void;
  /** Writes a request, and resolves with the next answer. Rejects if the connection ends without. */
  ask(request: string): Promise<Answer>;
  /** Resolves with the next answer that has not been asked for otherwise. */
  answer(): Promise<Answer>;
  /** There is an answer that nobody has taken yet. */
  readonly hasAnswer: boolean;
  readonly hasEnded: boolean;
  /** Resolves when the server has ended the connection. */
  ended(): Promise<void>;
}

export async function dialogue(url: string): Promise<Dialogue> {
  const socket = connect(Number(new URL(url).port), "127.0.0.1");
  open.add(socket);
  let text = "";
  let taken = 0;
  let hasEnded = false;
  socket.on("data", (chunk: Buffer) => (text += chunk.toString("latin1")));
  // A reset is an end like any other here.
  socket.on("error", () => {});
  socket.on("end", () => (hasEnded = true));
  socket.on("close", () => (hasEnded = true));
  await new Promise<void>((resolve) => socket.once("connect", resolve));

  const isAnswered = (): boolean => parseAnswers(text, false).length > taken;

  async function answer(): Promise<Answer> {
    await until("an answer", () => isAnswered() || hasEnded);
    const found = parseAnswers(text, false)[taken++];
    if (found === undefined) throw new Error(`the connection ended without an answer: ${JSON.stringify(text)}`);
    return found;
  }

  return {
    write: (bytes) => void socket.write(bytes),
    ask(request) {
      socket.write(request);
      return answer();
    },
    answer,
    get hasAnswer() {
      return isAnswered();
    },
    get hasEnded() {
      return hasEnded;
    },
    ended: () => until("the connection ends", () => hasEnded),
  };
}
