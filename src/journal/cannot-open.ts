/** Why a journal cannot be opened, in words for the operator. The file is as it was. */
export class CannotOpen extends Error {
  override readonly name = "CannotOpen";
}

/** What SQLite says, in words for people. */
export function reasonOf(error: unknown, otherwise = "unknown reason"): string {
  const code = error instanceof Error && "code" in error ? String(error.code) : "";
  if (/^SQLITE_FULL|^ENOSPC/.test(code)) return "the disk is full";
  if (/^SQLITE_READONLY|^EROFS|^EACCES|^EPERM/.test(code)) return "the file cannot be written";
  if (/^SQLITE_IOERR|^EIO/.test(code)) return "the disk does not work";
  if (code === "ENOENT") return "its folder does not exist";
  if (/^SQLITE_(CORRUPT|NOTADB)/.test(code)) return "the file is damaged";
  return code === "" ? otherwise : code;
}
