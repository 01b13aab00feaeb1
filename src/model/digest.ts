/** SHA-256 of UTF-8 text or bytes. */
export function sha256(data: string | Uint8Array, encoding: "hex" | "base64url"): string {
  return Bun.SHA256.hash(data, encoding);
}
