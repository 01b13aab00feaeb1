/**
 * The connections of Engine.IO and Socket.IO as the clients node-fetch 3.2 and ws see them: the first sends `Connection: close`, and
 * uses connections again that do not say that they end; an error that nobody listens for ends the process. It takes the URL of the
 * engine and, for each case, prints its name as soon as it has passed.
 */
import assert from "node:assert/strict";
import { once } from "node:events";
import fetch from "node-fetch-3.2";
import { WebSocket } from "ws";

const [url = ""] = process.argv.slice(2);
const at = (transport, sid) => `${url}?EIO=4&transport=${transport}${sid === undefined ? "" : `&sid=${sid}`}`;

const statusOf = async (address, init) => {
  const response = await fetch(address, init);
  await response.text();
  return response.status;
};

async function openPolling() {
  const packet = await (await fetch(at("polling"))).text();
  assert.equal(packet[0], "0");
  const opened = JSON.parse(packet.slice(1));
  const address = at("polling", opened.sid);
  const poll = async () => {
    const response = await fetch(address);
    return { status: response.status, text: await response.text() };
  };
  const post = async (body) => (await fetch(address, { method: "POST", body })).text();
  return { ...opened, address, poll, post };
}

async function openWebSocket(sid) {
  const socket = new WebSocket(at("websocket", sid).replace("http", "ws"));
  const closed = once(socket, "close");
  const packets = [];
  let wake = () => {};
  socket.addEventListener("message", ({ data }) => {
    packets.push(data);
    wake();
  });
  const next = async () => {
    while (packets.length === 0) await new Promise((resolve) => (wake = resolve));
    return packets.shift();
  };
  return { socket, closed, next };
}

async function upgraded() {
  const polling = await openPolling();
  const ws = await openWebSocket(polling.sid);
  await once(ws.socket, "open");
  ws.socket.send("2probe");
  assert.equal(await ws.next(), "3probe");
  ws.socket.send("5");
  return { polling, ws };
}

const members = ["maxPayload", "pingInterval", "pingTimeout", "sid", "upgrades"];

const cases = {
  "a handshake by polling": async () => {
    const { address: _, poll: __, post: ___, ...opened } = await openPolling();
    assert.deepEqual(Object.keys(opened).toSorted(), members);
    assert.deepEqual(opened.upgrades, ["websocket"]);
  },
  "a handshake by websocket": async () => {
    const { socket, next } = await openWebSocket();
    const opened = JSON.parse((await next()).slice(1));
    assert.deepEqual(Object.keys(opened).toSorted(), members);
    assert.deepEqual(opened.upgrades, []);
    socket.close();
  },
  "handshakes without a version, with another, or without a transport that is known": async () => {
    for (const query of ["transport=polling", "EIO=abc&transport=polling", "EIO=4", "EIO=4&transport=abc"]) {
      assert.equal(await statusOf(`${url}?${query}`), 400);
      const socket = new WebSocket(`${url.replace("http", "ws")}?${query.replace("polling", "websocket")}`);
      const [error] = await once(socket, "error");
      assert.match(error.message, /400/);
    }
  },
  "handshakes by other methods": async () => {
    for (const method of ["POST", "PUT"]) assert.equal(await statusOf(at("polling"), { method }), 400);
  },
  "heartbeats by polling": async () => {
    const { poll, post } = await openPolling();
    for (let i = 0; i < 3; i++) {
      assert.deepEqual(await poll(), { status: 200, text: "2" });
      assert.equal(await post("3"), "ok");
    }
    await post("1");
  },
  "heartbeats by websocket": async () => {
    const { socket, next } = await openWebSocket();
    await next();
    for (let i = 0; i < 3; i++) {
      assert.equal(await next(), "2");
      socket.send("3");
    }
    socket.close();
  },
  "no answer to a heartbeat, by polling": async () => {
    const { poll } = await openPolling();
    for (let status = 200; status !== 400; status = (await poll()).status) assert.equal(status, 200);
  },
  "no answer to a heartbeat, by websocket": async () => {
    await (
      await openWebSocket()
    ).closed;
  },
  "an invalid packet by polling": async () => {
    const { post, poll } = await openPolling();
    await post("abc");
    assert.equal((await poll()).status, 400);
  },
  "an invalid packet by websocket": async () => {
    const { socket, closed, next } = await openWebSocket();
    await next();
    socket.send("abc");
    await closed;
  },
  "two polls at the same time": async () => {
    const { address, poll } = await openPolling();
    const both = await Promise.all([statusOf(address), statusOf(`${address}&t=second`)]);
    assert.deepEqual(new Set(both), new Set([200, 400]));
    assert.equal((await poll()).status, 400);
  },
  "an end by polling": async () => {
    const { poll, post } = await openPolling();
    const [{ status }] = await Promise.all([poll(), post("1")]);
    assert.ok(status === 200 || status === 400);
    assert.equal((await poll()).status, 400);
  },
  "an end by websocket": async () => {
    const { socket, closed, next } = await openWebSocket();
    await next();
    socket.send("1");
    await closed;
  },
  "an upgrade, after which polls are refused": async () => {
    const { polling, ws } = await upgraded();
    assert.equal(await ws.next(), "2");
    ws.socket.send("3");
    assert.equal((await polling.poll()).status, 400);
    assert.equal(await ws.next(), "2");
    ws.socket.close();
  },
  "an upgrade, after which another websocket is closed": async () => {
    const { polling, ws } = await upgraded();
    assert.equal(await ws.next(), "2");
    ws.socket.send("3");
    await (
      await openWebSocket(polling.sid)
    ).closed;
    assert.equal(await ws.next(), "2");
    ws.socket.close();
  },
  "a CONNECT to an unknown namespace": async () => {
    const { socket, next } = await openWebSocket();
    await next();
    socket.send("40/random");
    assert.equal(await next(), '44/random,{"message":"Invalid namespace"}');
    socket.close();
  },
  "a CONNECT that is none": async () => {
    const { socket, closed, next } = await openWebSocket();
    await next();
    socket.send("4abc");
    await closed;
  },
};

for (const [name, run] of Object.entries(cases)) {
  await run();
  process.stdout.write(`${name}\n`);
}
process.stdout.write("all\n");
process.exit();
