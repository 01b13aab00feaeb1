import { expect, spyOn, test } from "bun:test";
import { key } from "../src/commands/key.ts";
import { hasGoodChecksum, looksLikeKey, makeKey } from "../src/settings/key-format.ts";
import { loadSettings } from "../src/settings/load.ts";

async function run(...args: string[]) {
  const written = { out: "", err: "" };
  const out = spyOn(process.stdout, "write").mockImplementation((text) => ((written.out += String(text)), true));
  const err = spyOn(process.stderr, "write").mockImplementation((text) => ((written.err += String(text)), true));
  try {
    return { code: await key(args), ...written };
  } finally {
    out.mockRestore();
    err.mockRestore();
  }
}

const digest = (secret: string) => new Bun.CryptoHasher("sha256").update(secret).digest("hex");

test("a key is amper_, 256 random bits, and a checksum that anybody can verify", () => {
  // Computed with Python: base64.urlsafe_b64encode, zlib.crc32, digits 0-9A-Za-z.
  expect(makeKey(new Uint8Array(32))).toBe("amper_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA3aLjV5");
  expect(makeKey(Uint8Array.from({ length: 32 }, (_, index) => 255 - index))).toBe(
    "amper___79_Pv6-fj39vX08_Lx8O_u7ezr6uno5-bl5OPi4eA1ZpaPO",
  );
  const keys = Array.from({ length: 1000 }, () => makeKey());
  expect(new Set(keys).size).toBe(1000);
  for (const one of keys) {
    expect(one).toMatch(/^amper_[A-Za-z0-9_-]{43}[0-9A-Za-z]{6}$/);
    expect(looksLikeKey(one) && hasGoodChecksum(one)).toBe(true);
  }
});

test("every single wrong character breaks the checksum", () => {
  const good = makeKey();
  for (let index = "amper_".length; index < good.length; index++) {
    const wrong = good[index] === "x" ? "y" : "x";
    expect(hasGoodChecksum(good.slice(0, index) + wrong + good.slice(index + 1))).toBe(false);
  }
});

test("`key NAME` shows the key once, and lines that configure it as they are", async () => {
  for (const name of ["orders", "orders.v2", "2"]) {
    const { code, out, err } = await run(name);
    const [fresh = ""] = out.split("\n");
    expect({ code, err }).toEqual({ code: 0, err: "" });
    expect(looksLikeKey(fresh) && hasGoodChecksum(fresh)).toBe(true);
    expect(out.split(fresh)).toHaveLength(2);

    const variable = (which: string) => new RegExp(`${which}=(\\S+)`).exec(out)?.[1] ?? "";
    const environment = loadSettings({
      args: [],
      env: { AMPER_API_KEYS: variable("AMPER_API_KEYS"), AMPER_WS_TOKENS: variable("AMPER_WS_TOKENS") },
      readFile: () => "",
    });
    const lines = out.split("\n").filter((line) => /^ {2}(\[|\w+ = )/.test(line));
    const file = loadSettings({ args: ["--config=x"], env: {}, readFile: () => lines.join("\n") });
    const credential = { name, sha256: digest(fresh), channels: "*" };
    expect(environment).toMatchObject({
      ok: true,
      warnings: [],
      settings: { api_keys: [{ ...credential, admin: true }], ws_tokens: [credential] },
    });
    expect(file).toMatchObject({
      ok: true,
      warnings: [],
      settings: { api_keys: [{ ...credential, admin: false }], ws_tokens: [credential] },
    });
  }
});

test("`key` without a name, with a bad one, or with more than one is called wrongly", async () => {
  const bad = [[], [""], ["a b"], ["a", "b"], ["--name=x"], ["x".repeat(65)], ["\u001b[2J"], [makeKey()]];
  for (const args of bad) {
    const { code, out, err } = await run(...args);
    expect({ args, code, out }).toEqual({ args, code: 2, out: "" });
    expect(err).toContain("Usage: amper-channels key NAME");
    expect(err).not.toContain("\u001b");
  }
});

test("`key --help` says what it does", async () => {
  expect(await run("--help")).toMatchObject({
    code: 0,
    out: expect.stringContaining("Usage: amper-channels key NAME"),
    err: "",
  });
});
