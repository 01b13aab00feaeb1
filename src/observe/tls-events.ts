import type { Log } from "./log.ts";

/** The certificate that the service shows. */
export function tlsEvents(log: Log) {
  return {
    /** It has ended, has not begun, or ends soon. */
    certificateEnds: (warning: string, days: number): void => log.warn("certificate", { warning, days: whole(days) }),
    certificateReloaded: (days: number): void => log.info("certificate reloaded", { days: whole(days) }),
    /** The one before stays. */
    certificateNotReloaded(problem: string): void {
      const remedy = "put both files right, and send SIGHUP again; until then the certificate before stays in use";
      log.error("certificate not reloaded", { problem, remedy });
    },
  };
}

function whole(days: number): number {
  return Math.floor(days);
}
