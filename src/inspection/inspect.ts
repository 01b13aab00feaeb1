import { problemsOfPlace } from "../journal/place.ts";
import type { Loaded } from "../settings/load.ts";
import { inspectRealms } from "./realms.ts";
import { exposedSecrets } from "./secrets.ts";
import { inspectTls } from "./tls.ts";

/** A sentence each, with the remedy. */
export interface Found {
  /** The service does not start, or no client accepts it. */
  readonly problems: readonly string[];
  readonly warnings: readonly string[];
}

/** Looks at what the settings name: files, certificates, folders, Keycloak. Changes none of them. */
export async function inspect(loaded: Extract<Loaded, { ok: true }>): Promise<Found> {
  const { settings } = loaded;
  const { unusable, outOfDate } = inspectTls(settings, Date.now());
  return {
    problems: [...unusable, ...outOfDate, ...problemsOfPlace(settings)],
    warnings: [...exposedSecrets(loaded), ...(await inspectRealms(settings))],
  };
}
