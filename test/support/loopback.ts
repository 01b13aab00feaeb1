import type { Server } from "node:net";

const open = new Set<() => void>();

/** Listens on a free port of loopback, and returns the URL. When the test is over, the server ends, and `cut` its connections. */
export async function listen(server: Server, cut: () => void): Promise<string> {
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  open.add(() => {
    server.close();
    cut();
  });
  const address = server.address();
  if (address === null || typeof address === "string") throw new Error("the server has no port");
  return `http://127.0.0.1:${address.port}`;
}

export function closeServers(): void {
  for (const close of open) close();
  open.clear();
}
