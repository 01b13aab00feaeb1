import { write } from "node:fs";

/** Where log lines go. */
export interface Lines {
  write(line: string): void;
  /** Resolves when everything is written, or cannot be. */
  flush(): Promise<void>;
}

const buffer_bytes = 1024 * 1024;
const retry_ms = 20;
const patience_ms = 1000;

/**
 * Standard output that never stalls the service: a reader that is slow costs lines, one that is gone costs all of them, and
 * nothing else. (pino's own destination, sonic-boom, blocks the event loop for ever on a broken pipe when it is flushed.)
 */
export function createStdout(fd = 1): Lines {
  let waiting = "";
  let writing: Promise<void> | undefined;
  let broken = false;

  async function drain(): Promise<void> {
    while (waiting !== "" && !broken) {
      const chunk = Buffer.from(waiting);
      waiting = "";
      for (let done = 0; done < chunk.length && !broken;) done += await writeSome(chunk.subarray(done));
    }
    writing = undefined;
  }

  /** Resolves with how much was written: nothing if the reader is slow, or gone. */
  function writeSome(chunk: Buffer): Promise<number> {
    return new Promise((resolve) => {
      write(fd, chunk, (error, written) => {
        if (error === null) return resolve(written);
        if (error.code !== "EAGAIN") broken = true;
        setTimeout(() => resolve(0), retry_ms);
      });
    });
  }

  return {
    write(line) {
      if (broken || waiting.length + line.length > buffer_bytes) return;
      waiting += line;
      writing ??= drain();
    },
    async flush() {
      if (writing !== undefined) await Promise.race([writing, Bun.sleep(patience_ms)]);
    },
  };
}
