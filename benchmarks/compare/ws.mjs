// The README's simple server with its broadcast.
// https://github.com/websockets/ws/blob/8.23.0/README.md#simple-server
import { WebSocket, WebSocketServer } from 'ws';
import { serve, server } from './control.mjs';

const wss = new WebSocketServer({ server, path: '/ws' });

wss.on('connection', (ws) => {
  ws.on('error', () => {}); // a close follows
  ws.on('message', (data, isBinary) => ws.send(data, { binary: isBinary }));
});

serve((message) => {
  for (const ws of wss.clients) {
    if (ws.readyState === WebSocket.OPEN) ws.send(message);
  }
});
