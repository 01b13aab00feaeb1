/**
 * A backend on Node, which calls /notify through the client that its arguments name. It reads orders from standard input, a line
 * each: a count, and whether the calls are made `at once` or `in turn`. Of each order it prints how many calls ended how.
 */
import http from "node:http";
import { createInterface } from "node:readline";

const [client = "", url = "", key = ""] = process.argv.slice(2);
const headers = { "Content-Type": "application/json", "X-API-Key": key };
const message = { msg: "from Node", channel: "msf" };
const body = JSON.stringify(message);
const kept = new http.Agent({ keepAlive: true });

/** Has the body read to its end, as backends do that want their receipt. */
const read = async (response) => {
  await response.json();
  return response.status;
};
const post = { method: "POST", headers, body };

/** What makes one call, by client: resolves with its status. */
const clients = {
  axios: async () => {
    const { default: axios } = await import("axios");
    return () => axios.post(url, message, { headers, validateStatus: null }).then(({ status }) => status);
  },
  "axios, with kept connections": async () => {
    const { default: axios } = await import("axios");
    const instance = axios.create({ httpAgent: kept, headers, validateStatus: null });
    return () => instance.post(url, message).then(({ status }) => status);
  },
  fetch: async () => () => fetch(url, post).then(read),
  got: async () => {
    const { default: got } = await import("got");
    const options = { headers, json: message, throwHttpErrors: false, retry: { limit: 0 } };
    return () => got.post(url, options).then(({ statusCode }) => statusCode);
  },
  "got, with kept connections": async () => {
    const { default: got } = await import("got");
    const options = { headers, json: message, throwHttpErrors: false, retry: { limit: 0 }, agent: { http: kept } };
    return () => got.post(url, options).then(({ statusCode }) => statusCode);
  },
  "node-fetch 2": () => nodeFetch("node-fetch-2"),
  "node-fetch 2, with kept connections": () => nodeFetch("node-fetch-2", kept),
  // Up to 3.3.1 it sends `Connection: close` with whichever agent.
  "node-fetch 3.2": () => nodeFetch("node-fetch-3.2"),
  "node-fetch 3.2, with kept connections": () => nodeFetch("node-fetch-3.2", kept),
  "node-fetch 3.3": () => nodeFetch("node-fetch"),
  "node-fetch 3.3, with kept connections": () => nodeFetch("node-fetch", kept),
  "undici.fetch": async () => {
    const { fetch: undiciFetch } = await import("undici");
    return () => undiciFetch(url, post).then(read);
  },
  "undici.request": async () => {
    const { request } = await import("undici");
    return () => requested(request(url, post));
  },
  "undici.Pool, which pipelines": async () => {
    const { Pool } = await import("undici");
    const { origin, pathname } = new URL(url);
    const pool = new Pool(origin, { connections: 4, pipelining: 10 });
    return () => requested(pool.request({ ...post, path: pathname }));
  },
};

async function nodeFetch(name, agent) {
  const { default: fetch } = await import(name);
  return () => fetch(url, { ...post, ...(agent && { agent }) }).then(read);
}

async function requested(answer) {
  const { statusCode, body: received } = await answer;
  await received.json();
  return statusCode;
}

const call = await clients[client]();

for await (const order of createInterface({ input: process.stdin })) {
  const [, count, way] = /^(\d+) (.*)$/.exec(order) ?? [];
  const outcome = () => call().catch((error) => `${error.message} ${error.cause?.message ?? ""}`.trim());
  const counts = {};
  const make = async () => {
    const one = await outcome();
    counts[one] = (counts[one] ?? 0) + 1;
  };
  if (way === "at once") await Promise.all(Array.from({ length: Number(count) }, make));
  else for (let i = 0; i < Number(count); i++) await make();
  process.stdout.write(`${JSON.stringify(counts)}\n`);
}
process.exit();
