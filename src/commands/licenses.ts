import notices from "./notices.txt" with { type: "file" };

export const summary = "print the licences of this program and of everything in it";

export function help(): string {
  return `Usage: amper-channels licenses

Prints the licences and notices of this program, of the packages in it, and of Bun, on which it runs.

Exit codes: 0 printed, 2 usage error.
`;
}

export async function licenses(args: readonly string[]): Promise<number> {
  if (args.includes("--help") || args.includes("-h")) {
    process.stdout.write(help());
    return 0;
  }
  if (args.length > 0) {
    process.stderr.write(`amper-channels licenses takes no arguments.\n\n${help()}`);
    return 2;
  }
  try {
    // The path leads into the executable: the build puts the notices there.
    await Bun.write(Bun.stdout, Bun.file(notices));
  } catch (error) {
    // A reader such as `head` closes the pipe when it has seen enough.
    if (!(error instanceof Error && "code" in error && error.code === "EPIPE")) throw error;
  }
  return 0;
}
