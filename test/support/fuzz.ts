import { expect } from "bun:test";
import * as v from "valibot";
import { launch } from "./binary.ts";
import { authorize, closePages, connected, notify, transports } from "./client.ts";
import { flawOfProblem } from "./problem.ts";
import { generator, seeded, type Random } from "./random.ts";
import { metric, noSessions, patience_ms, until, type Answer } from "./raw.ts";
import { report, scale } from "./scale.ts";
import { apiKey, wsToken } from "./service.ts";

/** Stands in what must never be logged or told to others: messages, packets, queries, tokens. */
export const secret = "never-to-be-logged";

/** Another client for the server, each time: limits by address are not what is tried here. */
export function addressOf(i: number): string {
  return `127.${64 + ((i >> 16) & 63)}.${(i >> 8) & 255}.${1 + (i & 127)}`;
}

export interface Fuzzing<T> {
  /** In each round. */
  readonly cases: number;
  readonly atOnce: number;
  readonly make: (random: Random, i: number) => T;
  /** Resolves with what is wrong about what happened, or with null. */
  readonly run: (made: T, i: number) => Promise<string | null>;
  /** What was sent, for who has to find out why. */
  readonly show: (made: T) => string;
  readonly afterRound: () => Promise<void>;
}

/**
 * Rounds of cases. All cases of a round are made before the first runs, so that a seed repeats them, whatever comes first.
 * Throws with the seed, and the cases that went wrong.
 */
export async function fuzz<T>({ cases, atOnce, make, run, show, afterRound }: Fuzzing<T>): Promise<void> {
  const { seed: first } = seeded();
  let last = 0;
  for (let seed = first; seed < first + scale.fuzzRounds; seed++) {
    const random = generator(seed);
    const made = Array.from({ length: cases }, (_, i) => make(random, i));
    const flaws: string[] = [];
    const queue = made.entries();
    const worker = async () => {
      for (const [i, one] of queue) {
        const flaw = await run(one, last++);
        if (flaw !== null) flaws.push(`case ${i}: ${flaw}\n  sent: ${show(one).slice(0, 4000)}`);
      }
    };
    const round = async () => {
      await Promise.all(Array.from({ length: atOnce }, worker));
      await afterRound();
    };
    try {
      await inTime(round());
    } catch (error) {
      flaws.push(error instanceof Error ? `the round: ${error.message}` : String(error));
    }
    if (flaws.length > 0) {
      throw new Error(`SEED=${seed} repeats it: ${flaws.length} of ${cases} cases\n${flaws.slice(0, 5).join("\n")}`);
    }
  }
  report(`${scale.fuzzRounds} rounds of ${cases} cases, the first with SEED=${first}`);
}

/** One that hangs has to tell its seed, too: before its test is ended. */
async function inTime(round: Promise<void>): Promise<void> {
  const late = Promise.withResolvers<void>();
  const timer = setTimeout(() => late.reject(new Error(`not over within ${patience_ms} ms`)), patience_ms);
  await Promise.race([round, late.promise]).finally(() => clearTimeout(timer));
}

/** What only a bug tells: a stack, a path, the name of an error that nobody caught. */
const inside = /\n\s+at |node_modules|\$bunfs|\b(Type|Range|Syntax|Reference)Error\b|\.ts:\d/;

/** What is wrong with an answer, or null. */
export function flawOf(answer: Answer, isHead = false): string | null {
  const { headers, body } = answer;
  if (headers.has("x-injected") || headers.has("set-cookie"))
    return "a header of the request has become one of the answer";
  if (inside.test(body)) return `tells of its inside: ${body}`;
  if ([secret, apiKey, wsToken].some((word) => body.includes(word))) return `tells a secret: ${body}`;
  return flawOfProblem(answer, isHead);
}

const Line = v.looseObject({ level: v.picklist(["info", "warn", "debug"]), event: v.string() });

/** The executable, and what has to hold for it whatever it was sent. */
export async function target(env: Record<string, string> = {}) {
  const { url, lines } = await launch({
    env: {
      AMPER_LOG_LEVEL: "debug",
      AMPER_CONNECT_TIMEOUT_MS: "300",
      AMPER_PING_INTERVAL_MS: "400",
      AMPER_PING_TIMEOUT_MS: "600",
      AMPER_MAX_CONNECTIONS_PER_USER: "10000",
      ...env,
    },
    // Whatever is printed past the log is in its lines, too.
    wrapper: ["sh", "-c", 'exec "$@" 2>&1', "sh"],
  });
  const witness = await connected(url, "witness", "quiet", transports["websocket only"]);
  let past = 0;

  /** Nobody else is hurt, nothing is left behind, nothing was logged that a bug or a secret would explain. */
  async function expectUnharmed(): Promise<void> {
    const message = `after round ${++past}`;
    await notify(url, { msg: message, keycloak: "witness" });
    expect(await witness.count(past)).toEqual(Array.from({ length: past }, (_, i) => `after round ${i + 1}`));
    for (const options of Object.values(transports)) {
      const { socket, count } = await connected(url, "newcomer", "fair", options);
      expect(await notify(url, { msg: message, keycloak: "newcomer", channel: "fair" })).toMatchObject({
        connections: 1,
      });
      expect(await count(1)).toEqual([message]);
      socket.disconnect();
      await until("the newcomer is gone", async () => (await metric(url, "amper_users")) === 1);
    }
    await until(
      "the witness is alone",
      async () =>
        (await metric(url, "amper_sessions")) === 1 &&
        (await metric(url, 'amper_connections{transport="websocket"}')) === 1 &&
        (await metric(url, 'amper_connections{transport="polling"}')) === 0,
    );
    expect(lines.splice(0).filter((line) => isOdd(line))).toEqual([]);
  }

  async function expectEmpty(): Promise<void> {
    closePages();
    await noSessions(url);
    expect(await metric(url, 'amper_connections{transport="websocket"}')).toBe(0);
    expect(lines.filter((line) => isOdd(line))).toEqual([]);
  }

  const { token } = await authorize(url);
  return { url, token, expectUnharmed, expectEmpty };
}

function isOdd(line: string): boolean {
  const isLine = v.is(v.pipe(v.string(), v.parseJson(), Line), line);
  return !isLine || inside.test(line) || [secret, apiKey, wsToken].some((word) => line.includes(word));
}
