import { configuration, items, nearestItem, type Given, type Layer } from "./items.ts";
import { placeIn, safe } from "./text.ts";

export type Environment = Readonly<Record<string, string | undefined>>;

/** `strangers`: variables that start as ours do and are none of ours. They may be meant for somebody else. */
export function readEnvironment(
  env: Environment,
): Layer & { readonly config: string | undefined; readonly strangers: readonly string[] } {
  const read = (variable: string) => {
    const value = Object.hasOwn(env, variable) ? (env[variable] ?? "") : "";
    return value.trim() === "" || isLink(variable, value) ? undefined : value;
  };
  const given = new Map<string, Given>();
  for (const { path, variables } of items) {
    const variable = variables.find((name) => read(name) !== undefined);
    if (variable !== undefined) given.set(path, { value: read(variable), name: (place) => placeIn(variable, place) });
  }
  const known = new Set<string>([configuration.variable, ...items.flatMap(({ variables }) => variables)]);
  const strangers = Object.keys(env).filter(
    (name) => name.startsWith("AMPER_") && !known.has(name) && read(name) !== undefined,
  );
  return { given, problems: [], config: read(configuration.variable), strangers: strangers.map(strange) };
}

/**
 * Variables that Kubernetes makes of a service called `amper…` in the same namespace, and Docker of a linked container:
 * AMPER_CHANNELS_PORT=tcp://10.0.0.7:3000, AMPER_CHANNELS_SERVICE_HOST, AMPER_CHANNELS_PORT_3000_TCP_ADDR, … A service called
 * just `amper` makes even AMPER_PORT.
 */
function isLink(variable: string, value: string): boolean {
  return (
    /_SERVICE_(HOST|PORT(_\w+)?)$/.test(variable) ||
    /_PORT_\d+_(TCP|UDP|SCTP)(_(START|END|ADDR|PORT|PROTO))?$/.test(variable) ||
    (/_PORT(_\d+_\w+)?$/.test(variable) && /^(tcp|udp|sctp):\/\//.test(value)) ||
    (variable.endsWith("_NAME") && value.startsWith("/")) ||
    /^AMPER_CHANNELS(_\d+)?_ENV_/.test(variable)
  );
}

function strange(variable: string): string {
  const path = variable.slice("AMPER_".length);
  const inFile = items.find((item) => item.about.fileOnly === true && path.startsWith(item.path.toUpperCase()));
  const near = nearestItem(
    path,
    items.filter(({ variables }) => variables.length > 0),
  )?.variables[0];
  const hint =
    near === undefined
      ? inFile === undefined
        ? ""
        : `: ${inFile.path} can only be set in the file`
      : `: did you mean ${near}?`;
  return `${safe(variable)} is not a known variable${hint}`;
}
