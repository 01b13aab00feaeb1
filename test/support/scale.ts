/** How much is tried. `.ci/long` asks for more, by the environment. */
export const scale = {
  /** How often the server is killed in the middle of its work. */
  chaosKills: from("CHAOS_KILLS", 5),
  /** How long everything happens at once. */
  chaosSeconds: from("CHAOS_SECONDS", 30),
  /** The rounds of each fuzzer, each with a seed of its own. */
  fuzzRounds: from("FUZZ_ROUNDS", 1),
  /** The idle connections of a flood. */
  floodConnections: from("FLOOD_CONNECTIONS", 2_000),
  /** The histories that a model test makes up. */
  modelRuns: from("MODEL_RUNS", 100),
} as const;

function from(name: string, otherwise: number): number {
  const value = Number(process.env[name] ?? otherwise);
  if (!Number.isSafeInteger(value) || value < 1) throw new Error(`${name} is not a number of times`);
  return value;
}

/** Prints what a test has measured, where it was asked for more than usual: figures and seeds. */
export function report(figures: string): void {
  const isLong = ["CHAOS_KILLS", "FUZZ_ROUNDS", "FLOOD_CONNECTIONS", "MODEL_RUNS"].some((name) => name in process.env);
  if (isLong) process.stdout.write(`${figures}\n`);
}
