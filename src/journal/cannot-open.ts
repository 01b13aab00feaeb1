/** Why a journal cannot be opened, in words for the operator. The file is as it was. */
export class CannotOpen extends Error {
  override readonly name = "CannotOpen";
}

/** What SQLite says, in words for people. */
export function reasonOf(error: unknown, otherwise = "unknown reason"): string {
  const code = codeOf(error) ?? "";
  if (/^SQLITE_FULL|^ENOSPC|^EDQUOT/.test(code)) return "the disk is full";
  if (/^SQLITE_READONLY|^EROFS|^EACCES|^EPERM/.test(code)) return "the file cannot be written";
  if (/^SQLITE_IOERR|^EIO/.test(code)) return "the disk does not work";
  if (code === "ENOENT") return "its folder does not exist";
  if (code === "EISDIR") return "it is a folder";
  if (code === "ELOOP") return "a symbolic link is where its log has to be";
  if (/^SQLITE_(CORRUPT|NOTADB)/.test(code)) return "the file is damaged";
  return code === "" ? otherwise : code;
}

export function codeOf(error: unknown): string | undefined {
  return error instanceof Error && "code" in error ? String(error.code) : undefined;
}

/** By number: a container may run under one that has no name, and Bun takes the name from the environment. */
export function currentUser(): string {
  return `user ${process.getuid?.() ?? "unknown"}`;
}
