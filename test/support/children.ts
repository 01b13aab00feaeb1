const running = new Set<Bun.Subprocess>();

/** Has a process killed after the test, unless it has ended. */
export function killAfterTest(child: Bun.Subprocess): void {
  running.add(child);
  void child.exited.then(() => running.delete(child));
}

export async function killChildren(): Promise<void> {
  for (const child of running) child.kill("SIGKILL");
  await Promise.all([...running].map((child) => child.exited));
}
