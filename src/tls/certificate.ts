import type { Wall } from "../clock/wall.ts";
import { CannotOpen } from "../journal/cannot-open.ts";
import type { Events } from "../observe/events.ts";
import { daysLeft, endingSoon, outOfDate, readTls, type TlsFiles, type TlsSettings } from "./files.ts";

/** The certificate that the service shows. */
export interface Certificate {
  /** Undefined: it speaks plain HTTP. */
  readonly files: TlsFiles | undefined;
  /** Until the first certificate of the chain expires; negative: since then; undefined: there is none. */
  readonly days: number | undefined;
  /**
   * Reads the files anew, and adopts them if they have changed and clients accept them. Where they cannot be used, or are not
   * adopted, the ones before stay, and the log says why. The service cannot begin or cease to speak TLS by it.
   */
  renew(settings: TlsSettings, adopt: (files: TlsFiles) => void): void;
  /** Warns once a day of what is out of date, or soon will be. */
  tidy(): void;
}

const day_ms = 86_400_000;

/** Throws if the files cannot be used. */
export function createCertificate(
  settings: TlsSettings,
  { wall, events }: { wall: Pick<Wall, "believed_ms" | "elapsed_ms">; events: Events["tls"] },
): Certificate {
  const found = readTls(settings);
  if (found !== undefined && "unusable" in found) throw new CannotOpen(found.unusable.join("; "));
  let files = found;
  let warnedAt_ms = -Infinity;

  function tidy(): void {
    if (files === undefined || wall.elapsed_ms() - warnedAt_ms < day_ms) return;
    const now_ms = wall.believed_ms();
    const warnings = [...outOfDate(files, now_ms), ...endingSoon(files, now_ms)];
    if (warnings.length > 0) warnedAt_ms = wall.elapsed_ms();
    for (const warning of warnings) events.certificateEnds(warning, daysLeft(files, now_ms));
  }

  function renew(given: TlsSettings, adopt: (files: TlsFiles) => void): void {
    const next = readTls(given);
    if (files === undefined || next === undefined) return;
    if ("unusable" in next) return events.certificateNotReloaded(next.unusable.join("; "));
    if (next.cert === files.cert && next.key === files.key) return;
    // Only the service's own: an old certificate of an authority may be in the chain for old clients.
    const [objection] = outOfDate({ name: next.name, chain: [next.chain[0]] }, wall.believed_ms());
    if (objection !== undefined) return events.certificateNotReloaded(objection);
    try {
      adopt(next);
    } catch (error) {
      const reason = error instanceof Error ? error.message : "unknown reason";
      return events.certificateNotReloaded(`${next.name} cannot be used without a restart: ${reason}`);
    }
    files = next;
    events.certificateReloaded(daysLeft(next, wall.believed_ms()));
    warnedAt_ms = -Infinity;
    tidy();
  }

  tidy();
  return {
    get files() {
      return files;
    },
    get days() {
      return files && daysLeft(files, wall.believed_ms());
    },
    renew,
    tidy,
  };
}
