/**
 * What Bun's executable has in it besides Bun, with its licence as SPDX writes it. Where there is a choice, ours. The list is of
 * this version: another one may link others.
 */
export const listed = "1.4.5";

export const libraries: Readonly<Record<string, string>> = {
  "JavaScriptCore and parts of WebKit": "LGPL-2.0-or-later AND BSD-2-Clause",
  tinycc: "LGPL-2.1-only",
  BoringSSL: "Apache-2.0 AND BSD-3-Clause AND ISC AND MIT AND OpenSSL",
  uWebSockets: "Apache-2.0",
  uSockets: "Apache-2.0",
  simdutf: "Apache-2.0",
  highway: "Apache-2.0",
  "parts of TigerBeetle": "Apache-2.0",
  "parts of LLVM libc++abi": "Apache-2.0 WITH LLVM-exception",
  "lol-html": "BSD-3-Clause",
  zstd: "BSD-3-Clause",
  libwebp: "BSD-3-Clause",
  libarchive: "BSD-2-Clause",
  libbase64: "BSD-2-Clause",
  libspng: "BSD-2-Clause",
  "libjpeg-turbo": "IJG AND BSD-3-Clause AND Zlib",
  "zlib-ng": "Zlib",
  ICU: "Unicode-3.0",
  SQLite: "blessing",
  lsquic: "MIT AND BSD-3-Clause",
  "ls-hpack": "MIT",
  "ls-qpack": "MIT",
  brotli: "MIT",
  "c-ares": "MIT",
  libdeflate: "MIT",
  llhttp: "MIT",
  mimalloc: "MIT",
  picohttpparser: "MIT",
  uucode: "MIT",
  "parts of esbuild": "MIT",
  "browser polyfills of Node's modules (acorn, assert, browserify-zlib, buffer, crypto-browserify, events, …)": "MIT",
};

/** The licences by their names in SPDX's list. */
export const licenses: readonly string[] = [
  ...new Set(["MIT", ...Object.values(libraries).flatMap((expression) => expression.split(" AND "))]),
].toSorted();
