import { problemsOfPlace } from "../journal/place.ts";
import type { Loaded } from "../settings/load.ts";
import { endingSoon, outOfDate, readTls, type TlsSettings } from "../tls/files.ts";
import { inspectRealms } from "./realms.ts";
import { exposedSecrets } from "./secrets.ts";

/** A sentence each, with the remedy. */
export interface Found {
  /** The service does not start, or no client accepts it. */
  readonly problems: readonly string[];
  readonly warnings: readonly string[];
}

/** Looks at what the settings name: files, certificates, folders, Keycloak. Changes none of them. */
export async function inspect(loaded: Extract<Loaded, { ok: true }>): Promise<Found> {
  const { settings } = loaded;
  const tls = inspectTls(settings);
  return {
    problems: [...tls.problems, ...problemsOfPlace(settings)],
    warnings: [...tls.warnings, ...exposedSecrets(loaded), ...(await inspectRealms(settings))],
  };
}

function inspectTls(settings: TlsSettings): Found {
  const tls = readTls(settings);
  if (tls === undefined) return { problems: [], warnings: [] };
  if ("unusable" in tls) return { problems: tls.unusable, warnings: [] };
  return { problems: outOfDate(tls, Date.now()), warnings: endingSoon(tls, Date.now()) };
}
