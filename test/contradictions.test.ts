import { describe, expect, spyOn, test } from "bun:test";
import { check } from "../src/commands/check.ts";
import { loadSettings } from "../src/settings/load.ts";
import { launch } from "./support/binary.ts";

/** Settings that are allowed, each for itself, and work against each other. */

const enough = { AMPER_API_KEYS: "orders=0123456789abcdef", AMPER_WS_TOKENS: "front=fedcba9876543210" };

function warningsOf(env: Readonly<Record<string, string>>): readonly string[] {
  const loaded = loadSettings({ args: [], env: { ...enough, ...env }, readFile: () => "" });
  if (!loaded.ok) throw new Error(loaded.problems.join("\n"));
  return loaded.warnings;
}

describe("a warning names both settings", () => {
  const cases: Record<string, { env: Record<string, string>; names: [string, string] }> = {
    "a body that closes every connection": {
      env: { AMPER_MAX_BODY_BYTES: "2 MiB" },
      names: ["max_body_bytes (2097152)", "backlog_bytes (1048576)"],
    },
    "a body that cannot be replayed": {
      env: { AMPER_MAX_BODY_BYTES: "524289" },
      names: ["max_body_bytes (524289)", "backlog_bytes (1048576)"],
    },
    "a body that cannot be held for a user": {
      env: { AMPER_BACKLOG_BYTES: "200 KiB" },
      names: ["max_body_bytes (65536)", "backlog_bytes (204800)"],
    },
    "a body that cannot be held at all": {
      env: { AMPER_MAX_HELD_BYTES: "65535" },
      names: ["max_body_bytes (65536)", "max_held_bytes (65535)"],
    },
    "a body that fills the window": {
      env: { AMPER_JOURNAL_WINDOW_BYTES: "300 KiB" },
      names: ["max_body_bytes (65536)", "journal_window_bytes (307200)"],
    },
    "bodies that end one another while they come": {
      env: { AMPER_MAX_UNFINISHED_BYTES: "255 KiB" },
      names: ["max_body_bytes (65536)", "max_unfinished_bytes (261120)"],
    },
    "more held for a user than a connection takes": {
      env: { AMPER_MAX_HELD_PER_USER: "5000" },
      names: ["max_held_per_user (5000)", "backlog_bytes (1048576)"],
    },
    "more held for a user than for all": {
      env: { AMPER_MAX_HELD: "99" },
      names: ["max_held_per_user (100)", "max_held (99)"],
    },
    "a backlog of which a connection may have more than a quarter": {
      env: { AMPER_BACKLOG_TOTAL_BYTES: "3 MiB" },
      names: ["backlog_bytes (1048576)", "backlog_total_bytes (3145728)"],
    },
    "connections of which an address may have more than a quarter": {
      env: { AMPER_MAX_CONNECTIONS: "79999" },
      names: ["max_connections_per_address (20000)", "max_connections (79999)"],
    },
    "polling places of which an address may have more than a quarter": {
      env: { AMPER_MAX_POLLING_PER_ADDRESS: "5001" },
      names: ["max_polling_per_address (5001)", "max_polling (20000)"],
    },
    "places before CONNECT of which an address may have more than a quarter": {
      env: { AMPER_MAX_UNAUTHENTICATED: "5000" },
      names: ["max_unauthenticated_per_address (2500)", "max_unauthenticated (5000)"],
    },
  };
  for (const [name, { env, names }] of Object.entries(cases)) {
    test(name, () => {
      const warnings = warningsOf(env);
      expect(warnings).toHaveLength(1);
      for (const setting of names) expect(warnings[0]).toContain(setting);
    });
  }

  test("and there is none at the defaults, nor just within them", () => {
    expect(warningsOf({})).toEqual([]);
    expect(warningsOf({ AMPER_BACKLOG_BYTES: "256 KiB", AMPER_MAX_HELD_BYTES: "64 KiB" })).toEqual([]);
    expect(warningsOf({ AMPER_MAX_CONNECTIONS: "80000", AMPER_MAX_POLLING_PER_ADDRESS: "5000" })).toEqual([]);
    expect(warningsOf({ AMPER_BACKLOG_TOTAL_BYTES: "4 MiB" })).toEqual([]);
    expect(warningsOf({ AMPER_MAX_HELD: "100", AMPER_JOURNAL_WINDOW_BYTES: "320 KiB" })).toEqual([]);
  });
});

test("`check` says it, and fails with --strict", async () => {
  const spies = [spyOn(process.stdout, "write"), spyOn(process.stderr, "write")] as const;
  for (const spy of spies) spy.mockImplementation(() => true);
  try {
    const sources = { args: [], env: { ...enough, AMPER_MAX_BODY_BYTES: "2 MiB" }, readFile: () => "" };
    expect(await check([], () => sources)).toBe(0);
    expect(await check(["--strict"], () => sources)).toBe(1);
    const said = spies[1].mock.calls.map(([text]) => String(text)).join("");
    expect(said).toContain("warning: max_body_bytes (2097152) is more than half of backlog_bytes (1048576)");
  } finally {
    for (const spy of spies) spy.mockRestore();
  }
});

test("the executable says it at the start", async () => {
  const { lines } = await launch({ env: { AMPER_MAX_BODY_BYTES: "2 MiB" } });
  expect(lines.filter((line) => line.includes("max_body_bytes (2097152)"))).toHaveLength(1);
});
