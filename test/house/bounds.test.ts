import { expect, test } from "bun:test";
import { limits } from "../../src/settings/limits.ts";
import { problems } from "../../src/model/problem.ts";
import { refusals } from "../../src/model/refusal.ts";
import { start } from "../support/service.ts";
import { readmePath } from "./docs.ts";

/** The README's table of what is bounded by what ("Security"): it names what there is. */

const readme = await Bun.file(readmePath).text();
/** The names in code, cell by cell. */
const codesIn = (line: string): string[][] =>
  line.split(" | ").map((cell) => [...cell.matchAll(/`([^`]+)`/g)].map(([, code = ""]) => code));

function tableBelow(heading: string): string[][][] {
  const lines = readme.slice(readme.indexOf(heading)).split("\n");
  const first = lines.findIndex((line) => line.startsWith("| "));
  const rest = lines.slice(first + 2);
  return rest
    .slice(
      0,
      rest.findIndex((line) => !line.startsWith("| ")),
    )
    .map(codesIn);
}

const bounds = tableBelow("**What is bounded by what**");
/** From the generated table, which another test keeps. */
const defaults = new Map(
  tableBelow("<!-- settings:").map(([[name = ""] = [], , [value = "none"] = []]) => [name, value]),
);
/** Not settings of the service, but of one API key or WS token, and of the system. */
const own = ["rate_per_second", "descriptors"];

test("each setting in it exists, and has the default that it says", () => {
  expect(bounds.length).toBeGreaterThan(20);
  const said = bounds.flatMap(([, settings = [], values = []]) => settings.map((name, i) => [name, values[i]]));
  expect(said).toEqual(said.map(([name = ""]) => [name, defaults.get(name)]));
});

test("each limit of the settings is in it", () => {
  const named = new Set(bounds.flatMap(([, settings = []]) => settings));
  expect(Object.keys(limits).filter((name) => !named.has(name))).toEqual([]);
});

test("each metric in it exists, with a label that it can have", async () => {
  const { url } = await start();
  const text = await (await fetch(`${url}/metrics`)).text();
  const labels = new Set([
    ...defaults.keys(),
    ...own,
    ...Object.keys(problems),
    ...Object.keys(refusals),
    "ping timeout",
  ]);
  const metrics = bounds.flatMap(([, , , , names = []]) => names);
  const unknown = metrics.filter((metric) => {
    const [, name = "", label] = /^(\w+)(?:\{\w+="([^"]+)"\})?$/.exec(metric) ?? [];
    return !text.includes(`# TYPE ${name} `) || (label !== undefined && !labels.has(label));
  });
  expect(unknown).toEqual([]);
});
