// What a team writes today: Socket.IO on Node, rooms for channels and users, an endpoint for the backend, no token check.
import { createServer } from "node:http";
import { Server } from "socket.io";

const http = createServer((request, response) => {
  const chunks = [];
  request.on("data", (chunk) => chunks.push(chunk));
  request.on("end", () => {
    const { msg, channel, keycloak } = JSON.parse(Buffer.concat(chunks).toString());
    const room = keycloak === undefined ? channel : `user:${keycloak}`;
    io.to(room).emit("notification", msg);
    const answer = JSON.stringify({ connections: io.sockets.adapter.rooms.get(room)?.size ?? 0 });
    response.writeHead(200, { "Content-Type": "application/json", "Content-Length": Buffer.byteLength(answer) });
    response.end(answer);
  });
});

const io = new Server(http, { transports: ["websocket"], serveClient: false });
io.on("connection", (socket) => {
  const { keycloakID, channel } = socket.handshake.auth;
  void socket.join([channel, `user:${keycloakID}`]);
});

http.listen(Number(process.env.PORT), "127.0.0.1");
