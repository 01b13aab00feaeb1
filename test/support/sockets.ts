import { readdirSync, readlinkSync } from "node:fs";

/** How many sockets a process has open: those on which it listens, and its connections. */
export function openSockets(pid: number): number {
  const folder = `/proc/${pid}/fd`;
  return readdirSync(folder).filter((descriptor) => linkOf(`${folder}/${descriptor}`).startsWith("socket:")).length;
}

function linkOf(path: string): string {
  try {
    return readlinkSync(path);
  } catch {
    // Closed meanwhile.
    return "";
  }
}
