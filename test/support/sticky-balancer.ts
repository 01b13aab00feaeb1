import { createServer, request } from "node:http";
import { listen } from "./loopback.ts";

/**
 * A balancer in front of several nodes that gives each client a cookie, and by it leads the client back to its node: by turns
 * those without one. Passes no websockets, so that clients poll.
 */
export async function stickyBalancer(nodes: readonly string[]): Promise<{ url: string }> {
  let turn = 0;
  const server = createServer((req, res) => {
    const known = /\bnode=(\d+)/.exec(req.headers.cookie ?? "")?.[1];
    const index = known === undefined ? turn++ % nodes.length : Number(known);
    const node = new URL(nodes[index] ?? "");
    const { method, headers, url: path } = req;
    const upstream = request({ host: node.hostname, port: node.port, method, headers, path }, (answer) => {
      const cookie = known === undefined ? { "set-cookie": `node=${index}; Path=/; HttpOnly` } : {};
      res.writeHead(answer.statusCode ?? 502, { ...answer.headers, ...cookie });
      answer.pipe(res);
    });
    upstream.on("error", () => res.destroy());
    res.on("close", () => upstream.destroy());
    req.pipe(upstream);
  });
  return { url: await listen(server, () => server.closeAllConnections()) };
}
