import { io, type Socket } from "socket.io-client";
import * as v from "valibot";
import { apiKey, wsToken } from "./service.ts";

export interface Options {
  readonly transports?: readonly ("polling" | "websocket")[];
  readonly extraHeaders?: Record<string, string>;
  /** Where the service has a `base_path`. */
  readonly path?: string;
}

export const transports = {
  "default transports": {},
  "websocket only": { transports: ["websocket"] },
  "polling only": { transports: ["polling"] },
} as const satisfies Record<string, Options>;

const open = new Set<Socket>();

/** A page: a stock client that remembers what it was notified of. Closed after the test by itself. */
export interface Page {
  readonly socket: Socket;
  readonly received: unknown[];
  readonly cursors: unknown[];
  /** Resolves as soon as so many notifications have come. */
  count(n: number): Promise<unknown[]>;
}

export function page(
  url: string,
  auth: object | ((send: (auth: object) => void) => void),
  options: Options = {},
): Page {
  const socket = io(url, {
    auth: typeof auth === "function" ? (send) => auth(send) : { ...auth },
    forceNew: true,
    reconnectionDelay: 20,
    reconnectionDelayMax: 50,
    // No test is about whom a page trusts.
    rejectUnauthorized: false,
    ...(options.extraHeaders && { extraHeaders: options.extraHeaders }),
    ...(options.path !== undefined && { path: options.path }),
    ...(options.transports && { transports: [...options.transports] }),
  });
  open.add(socket);
  const received: unknown[] = [];
  const cursors: unknown[] = [];
  let check = () => {};
  socket.on("notification", (msg: unknown, cursor: unknown) => {
    received.push(msg);
    cursors.push(cursor);
    check();
  });
  const count = (n: number) =>
    new Promise<unknown[]>((resolve) => {
      check = () => received.length >= n && resolve(received);
      check();
    });
  return { socket, received, cursors, count };
}

export function closePages(): void {
  for (const socket of open) socket.disconnect();
  open.clear();
}

/** Resolves with the first argument of the next event. */
export function next(socket: Socket, event: string): Promise<unknown> {
  return new Promise((resolve) => socket.once(event, resolve));
}

export async function connected(
  url: string,
  user: string,
  channel: string,
  options: Options & { token?: string } = {},
): Promise<Page> {
  const token = options.token ?? (await authorize(url)).token;
  const opened = page(url, { token, keycloakID: user, channel }, options);
  await new Promise<void>((resolve, reject) => {
    opened.socket.once("connect", resolve);
    opened.socket.once("connect_error", reject);
  });
  return opened;
}

const Authorization = v.object({
  token: v.string(),
  expiresIn: v.number(),
  expiresAt: v.string(),
  keycloakID: v.nullable(v.string()),
  channels: v.union([v.literal("*"), v.array(v.string())]),
});

/** `GET /authorize` as a front service's page does. */
export async function authorize(
  url: string,
  query = "",
  token = wsToken,
): Promise<v.InferOutput<typeof Authorization>> {
  const response = await fetch(`${url}/authorize${query}`, { headers: { Authorization: `Bearer ${token}` } });
  if (response.status !== 200) throw new Error(`${response.status} ${await response.text()}`);
  return v.parse(Authorization, await response.json());
}

export function post(url: string, body: unknown, headers: Readonly<Record<string, string>> = {}): Promise<Response> {
  return fetch(`${url}/notify`, {
    method: "POST",
    // A connection that is kept may lead to a service that has stopped, where another now has its port.
    keepalive: false,
    headers: { "Content-Type": "application/json", ...headers },
    body: typeof body === "string" ? body : JSON.stringify(body),
  });
}

const Receipt = v.strictObject({
  id: v.string(),
  connections: v.number(),
  offline: v.array(v.string()),
  held: v.boolean(),
});

export async function notify(url: string, body: object): Promise<v.InferOutput<typeof Receipt>> {
  const response = await post(url, { API_KEY: apiKey, ...body });
  if (response.status !== 200) throw new Error(`${response.status} ${await response.text()}`);
  return v.parse(Receipt, await response.json());
}
