// The README's echo server with the broadcast of its example; what it logs of each request
// would come between the answers to commands.
// https://github.com/sockjs/sockjs-node/blob/v0.3.24/README.md#sockjs-node-server
import sockjs from 'sockjs';
import { serve, server } from './control.mjs';

const echo = sockjs.createServer({ log: (severity, line) => { if (severity === 'error') console.error(line); } });
const conns = new Set();

echo.on('connection', (conn) => {
  conns.add(conn);
  conn.on('data', (message) => conn.write(message));
  conn.on('close', () => conns.delete(conn));
});
echo.installHandlers(server, { prefix: '/sockjs' });

serve((message) => {
  for (const conn of conns) conn.write(message);
});
