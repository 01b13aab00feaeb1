/** 64 random bits in base 36. */
export function randomEpoch(): string {
  const [bits = 0n] = crypto.getRandomValues(new BigUint64Array(1));
  return bits.toString(36);
}
