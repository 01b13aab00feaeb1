import spdx from "spdx-license-list/full.js";
import { version } from "../../package.json";
import type { Runtime } from "./bun.ts";
import { libraries, licenses, listed } from "./libraries.ts";
import type { Package } from "./packages.ts";

const line = "=".repeat(80);

/** The licences of everything in the executable, for people to read. Throws where one has no text. */
export async function noticesOf(packages: readonly Package[], runtime: Runtime): Promise<string> {
  const contents = packages.map(({ name, version: of, license }) => `  ${name} ${of}: ${license}\n`);
  const chapters = packages.map(({ name, version: of, license, texts }) =>
    chapter(`${name} ${of}: ${license}`, texts.join("\n\n")),
  );
  return [
    chapter(`AMPER Channels ${version}: MIT`, await Bun.file("LICENSE").text()),
    `In this executable are also\n\n${contents.join("")}  Bun ${runtime.version} and the libraries in it: see there\n`,
    ...chapters,
    chapter(`Bun ${runtime.version}: MIT`, aboutBun(runtime)),
    ...licenses.map((name) => chapter(`Licence of Bun or a library in it: ${name}`, textOf(name))),
  ].join("\n");
}

function chapter(title: string, text: string): string {
  return `${line}\n${title}\n${line}\n\n${text.trim().replaceAll("\r\n", "\n")}\n`;
}

function aboutBun({ version: running, revision }: Runtime): string {
  if (running !== listed) throw new Error(`libraries.ts lists what is in Bun ${listed}, and this is ${running}`);
  const list = Object.entries(libraries).map(([name, expression]) => `  ${name}: ${expression}\n`);
  return `This executable is Bun, https://github.com/oven-sh/bun at commit ${revision}, with this program
appended to it. Bun is the work of its authors, under the MIT licence. It links these libraries, which are the work of
theirs, and whose copyright notices are in their sources:

${list.join("")}
JavaScriptCore, WebKit and tinycc are under the GNU Lesser General Public License. Their sources, with the changes made
for Bun, are at https://github.com/oven-sh/WebKit and https://github.com/oven-sh/tinycc. Bun's sources tell how to build
it with other versions of them; the same command that has made this executable puts this program onto such a Bun.

The texts of all these licences follow.`;
}

function textOf(license: string): string {
  const name = license.replace(/ WITH .*$/, "");
  const text = spdx[name]?.licenseText;
  if (text === undefined) throw new Error(`there is no text of the licence ${name}`);
  const exception =
    name === license ? "" : `With ${license.slice(name.length + " WITH ".length)}, which only adds permissions.\n\n`;
  return exception + text;
}
