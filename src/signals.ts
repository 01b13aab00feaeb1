/** What asks a process to end (`SIGTERM` a service manager, `SIGINT` a terminal), or to read its settings anew. */
export type Signal = "SIGHUP" | "SIGINT" | "SIGTERM";

/** From now on signals go to this listener, and first those that nobody has heard yet. */
export type OnSignal = (listener: (signal: Signal) => void) => void;

const unheard: Signal[] = [];
let listen = (signal: Signal): void => void unheard.push(signal);

// As this file is loaded, and it is loaded first: without a handler the kernel drops each signal to process 1 of a container.
for (const signal of ["SIGHUP", "SIGINT", "SIGTERM"] as const) process.on(signal, () => listen(signal));

export const onSignal: OnSignal = (listener) => {
  listen = listener;
  for (const signal of unheard.splice(0)) listener(signal);
};
