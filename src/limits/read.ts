/** Reads a body to its end, counting as it comes; undefined: it has more bytes than the limit, and the rest was not read. */
export async function readAtMost(
  body: AsyncIterable<Uint8Array> | null,
  limit_bytes: number,
): Promise<Buffer | undefined> {
  const chunks: Uint8Array[] = [];
  let size_bytes = 0;
  for await (const chunk of body ?? []) {
    size_bytes += chunk.byteLength;
    if (size_bytes > limit_bytes) return undefined;
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}
