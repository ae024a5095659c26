// What a row in node has besides its set-up: node.go hands over the pipes, and what is known
// there in the environment.
import { createServer } from 'node:http';
import { createServer as createSecureServer } from 'node:https';
import { createInterface } from 'node:readline';

const { ROW_NAME, ROW_HOST, ROW_PORT, ROW_MESSAGE, ROW_KEY, ROW_CERT } = process.env;

export const server = ROW_KEY ? createSecureServer({ key: ROW_KEY, cert: ROW_CERT }) : createServer();

function fail(err) {
  console.error(`compare: row ${ROW_NAME}: ${err.message}`);
  process.exit(1);
}

/** Listens, and carries out the commands; publish sends a message to all. */
export function serve(publish) {
  server.on('error', fail);
  server.listen(Number(ROW_PORT), ROW_HOST, () => {
    const { address, port, family } = server.address();
    console.log(`listening ${family === 'IPv6' ? `[${address}]` : address}:${port}`);
  });
  const commands = {
    stats: () => '{}',
    publish: (n) => {
      if (!/^\d+$/.test(n)) fail(new Error(`publish "${n}": not a count`));
      for (let i = 0; i < Number(n); i++) publish(ROW_MESSAGE);
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
}
