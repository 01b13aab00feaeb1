import { expect, test } from "bun:test";
import { readmePath, withGeneratedParts } from "./docs.ts";

test("the README's generated parts are not stale (`bun run docs` writes them)", async () => {
  const readme = await Bun.file(readmePath).text();
  expect(readme).toBe(withGeneratedParts(readme));
});
