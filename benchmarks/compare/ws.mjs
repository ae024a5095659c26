// The README's simple server with its broadcast, in a process of its own: peer_node.go
// hands over the pipes, and what is known there in the environment.
// https://github.com/websockets/ws/blob/8.23.0/README.md#simple-server
import { createServer } from 'node:http';
import { createServer as createSecureServer } from 'node:https';
import { createInterface } from 'node:readline';
import { WebSocket, WebSocketServer } from 'ws';

const { ROW_HOST, ROW_PORT, ROW_MESSAGE, ROW_KEY, ROW_CERT } = process.env;

const server = ROW_KEY ? createSecureServer({ key: ROW_KEY, cert: ROW_CERT }) : createServer();
const wss = new WebSocketServer({ server, path: '/ws' });

wss.on('connection', (ws) => {
  ws.on('error', () => {}); // a close follows
  ws.on('message', (data, isBinary) => ws.send(data, { binary: isBinary }));
});

function fail(err) {
  console.error(`compare: row node-ws: ${err.message}`);
  process.exit(1);
}

server.on('error', fail);
server.listen(Number(ROW_PORT), ROW_HOST, () => {
  const { address, port, family } = server.address();
  console.log(`listening ${family === 'IPv6' ? `[${address}]` : address}:${port}`);
});

const commands = {
  stats: () => '{}',
  publish: (n) => {
    if (!/^\d+$/.test(n)) fail(new Error(`publish "${n}": not a count`));
    for (let i = 0; i < Number(n); i++) {
      for (const ws of wss.clients) {
        if (ws.readyState === WebSocket.OPEN) ws.send(ROW_MESSAGE);
      }
    }
    return 'published';
  },
};

const stdin = createInterface({ input: process.stdin });
stdin.on('line', (line) => {
  const [cmd, arg = ''] = line.split(' ');
  if (!commands[cmd]) fail(new Error(`no command "${cmd}"; commands: stats, publish N`));
  console.log(commands[cmd](arg));
});
stdin.on('close', () => process.exit(0));
process.on('SIGTERM', () => process.exit(0));
