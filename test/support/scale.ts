/** How much is tried. `.ci/long` asks for more by the environment. */
export const scale = {
  /** How often the server is killed in the middle of its work. */
  chaosKills: from("CHAOS_KILLS", 5),
  /** How many rounds of each fuzzer, each with a seed of its own. */
  fuzzRounds: from("FUZZ_ROUNDS", 1),
  /** How many idle connections a flood is of. */
  floodConnections: from("FLOOD_CONNECTIONS", 2_000),
  /** How many histories a model test makes up. */
  modelRuns: from("MODEL_RUNS", 100),
} as const;

function from(name: string, otherwise: number): number {
  const value = Number(process.env[name] ?? otherwise);
  if (!Number.isSafeInteger(value) || value < 1) throw new Error(`${name} is not a number of times`);
  return value;
}
