import * as v from "valibot";
import type { Raw } from "./raw.ts";

const Connected = v.object({ pid: v.string() });
const Event = v.tupleWithRest([v.string()], v.unknown());
export type Event = v.InferOutput<typeof Event>;

/** Sends the CONNECT, and resolves with the `pid` of its answer. */
export async function connect(raw: Raw, auth: object): Promise<string> {
  await raw.send(`40${JSON.stringify(auth)}`);
  return v.parse(Connected, JSON.parse((await raw.next()).slice(2))).pid;
}

/** The next event, with its arguments. There are no heartbeats in between, or they are answered. */
export async function event(raw: Raw): Promise<Event> {
  for (;;) {
    const packet = await raw.next();
    if (packet.startsWith("42")) return v.parse(Event, JSON.parse(packet.slice(2)));
    if (packet !== "2") throw new Error(`unexpected: ${packet}`);
    await raw.send("3");
  }
}

/** The events up to and with the first one of this name. */
export async function upTo(raw: Raw, name: string): Promise<Event[]> {
  const events: Event[] = [];
  do events.push(await event(raw));
  while (events.at(-1)?.[0] !== name);
  return events;
}

/** What a client that hands in its place gets before anything new: events from `resumed` to `cursor`. */
export async function opening(raw: Raw, auth: object): Promise<Event[]> {
  await connect(raw, auth);
  return upTo(raw, "cursor");
}
