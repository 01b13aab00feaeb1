import { copyFileSync, globSync, mkdirSync, symlinkSync } from "node:fs";
import { basename, join } from "node:path";
import { folder } from "./folder.ts";
import { describeWith } from "./parts.ts";

const { KEYCLOAK_HOME, PATH = "", JAVA_HOME } = process.env;
const realms = join(import.meta.dir, "../realms");

/** What its start may take until it listens, on a machine that has much else to do: no test's clock runs for most of it. */
const beginWithin_ms = 600_000;
/** And from there: less than `--timeout` in package.json. */
const listenWithin_ms = 110_000;

export const administrator = { username: "admin", password: crypto.randomUUID() } as const;

/** A group of tests that need a real Keycloak, which is about to listen. */
export async function describeKeycloak(name: string, tests: () => void): Promise<void> {
  const isMissing = KEYCLOAK_HOME === undefined || KEYCLOAK_HOME === "";
  // A failure is not kept: the tests begin anew.
  if (!isMissing) await beginKeycloak().catch(stopKeycloak);
  describeWith(
    { missing: isMissing ? "KEYCLOAK_HOME is not set: set it to what .ci/keycloak prints" : undefined },
    name,
    tests,
  );
}

interface Server {
  /** Resolves with the first match in its log, past or to come. Rejects if it ends without, or is late. */
  said(pattern: RegExp, within_ms: number): Promise<void>;
  stop(): Promise<void>;
}

let url: string | undefined;
let server: Server | undefined;

/** Where it listens: the same for the whole test run, and known before it runs. */
export function keycloakUrl(): string {
  url ??= freeUrl();
  return url;
}

export function issuerOf(realm: string): string {
  return `${keycloakUrl()}/realms/${realm}`;
}

/** Starts it, unless it runs, with the realms of `test/realms`, and waits until it is ready. Ends with the test run. */
export async function startKeycloak(): Promise<void> {
  server ??= spawn(new URL(keycloakUrl()));
  await server.said(/ Listening on: /, listenWithin_ms);
  const response = await fetch(issuerOf("amper"));
  if (response.status !== 200) throw new Error(`Keycloak answers ${response.status}: ${await response.text()}`);
}

/** Starts it, and waits until the first of two realms is imported: seconds before it listens. */
export async function beginKeycloak(): Promise<void> {
  server ??= spawn(new URL(keycloakUrl()));
  await server.said(/ Realm '\w+' imported/, beginWithin_ms);
}

/** As a power cut does. What it knew is gone with it: the database is in memory. */
export async function stopKeycloak(): Promise<void> {
  const stopping = server?.stop();
  server = undefined;
  await stopping;
}

/**
 * A service has to know the port before Keycloak listens on it: it is free then as now, because the address is one of
 * loopback that nothing else uses.
 */
function freeUrl(): string {
  const parts = crypto.getRandomValues(new Uint8Array(3)).map((part) => 1 + (part % 254));
  const hostname = `127.${parts.join(".")}`;
  const probe = Bun.serve({ hostname, port: 0, fetch: () => new Response() });
  const { origin } = probe.url;
  void probe.stop(true);
  return origin;
}

function spawn({ hostname, port }: URL): Server {
  const home = folder();
  // What it writes goes into this home. Of the distribution, it only reads.
  symlinkSync(join(KEYCLOAK_HOME ?? "", "lib"), join(home, "lib"));
  mkdirSync(join(home, "data/import"), { recursive: true });
  for (const file of globSync(join(realms, "*.json"))) copyFileSync(file, join(home, "data/import", basename(file)));
  const command = [
    join(KEYCLOAK_HOME ?? "", "bin/kc.sh"),
    "start",
    "--optimized",
    "--import-realm",
    "--cache=local",
    "--http-enabled=true",
    "--hostname-strict=false",
    `--http-host=${hostname}`,
    `--http-port=${port}`,
    `-Dkc.home.dir=${home}`,
  ];
  // A process group that dies when the other end of its descriptor 3 is closed: when we are gone, however we went. The
  // shell that leads it ends at once, for `bun test` kills the children that it knows when a test is too slow.
  const launch = '{ read -r _ <&3; kill -KILL 0; } >/dev/null 2>&1 & "$@" 3<&- 2>&1 &';
  const child = Bun.spawn(["sh", "-c", launch, "sh", ...command], {
    env: {
      PATH,
      ...(JAVA_HOME !== undefined && { JAVA_HOME }),
      JAVA_OPTS_KC_HEAP: "-Xms64m -Xmx384m",
      // It lives too short for more to pay.
      JAVA_OPTS_APPEND: "-XX:TieredStopAtLevel=1",
      KC_BOOTSTRAP_ADMIN_USERNAME: administrator.username,
      KC_BOOTSTRAP_ADMIN_PASSWORD: administrator.password,
    },
    stdio: ["ignore", "pipe", "inherit", "pipe"],
    detached: true,
  });
  const log = watch(child.stdout);
  return {
    said: log.said,
    async stop() {
      process.kill(-child.pid, "SIGKILL");
      await log.ended;
    },
  };
}

function watch(stream: ReadableStream<Uint8Array>) {
  const waiting = new Set<() => void>();
  const decoder = new TextDecoder();
  let text = "";
  let hasEnded = false;
  const ended = read();

  async function read(): Promise<void> {
    for await (const chunk of stream) {
      text += decoder.decode(chunk, { stream: true });
      for (const check of waiting) check();
    }
    hasEnded = true;
    for (const check of waiting) check();
  }

  async function said(pattern: RegExp, within_ms: number): Promise<void> {
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const fail = (how: string): void => reject(new Error(`Keycloak ${how} without ${pattern}:\n${text.slice(-4000)}`));
    const timer = setTimeout(() => fail("is late,"), within_ms);
    const check = (): void => {
      if (pattern.test(text)) resolve();
      else if (hasEnded) fail("ended");
    };
    waiting.add(check);
    check();
    await promise.finally(() => {
      waiting.delete(check);
      clearTimeout(timer);
    });
  }

  return { said, ended };
}
