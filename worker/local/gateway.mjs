// One port for the whole project: REST and Auth by @supabase/lite in this process, Realtime piped to its server.
import { once } from 'node:events';
import http from 'node:http';
import net from 'node:net';
import { getRequestListener } from '@hono/node-server';
import { startLite } from './lite.mjs';

const env = process.env;
const realtime = { host: '127.0.0.1', port: Number(env.REALTIME_PORT) };

function proxy(request, response) {
  const upstream = http.request(
    { ...realtime, path: request.url, method: request.method, headers: request.headers },
    (answer) => {
      response.writeHead(answer.statusCode, answer.headers);
      answer.pipe(response);
    },
  );
  upstream.on('error', () => {
    if (response.headersSent) return response.destroy();
    response.writeHead(502, { 'content-type': 'application/json' });
    response.end('{"message":"the Realtime server does not answer"}');
  });
  response.on('close', () => upstream.destroy());
  request.pipe(upstream);
}

// A websocket is passed on as bytes: the request line and headers again, then both directions.
function pipeUpgrade(request, socket, head) {
  if (!request.url.startsWith('/realtime/v1/')) return socket.destroy();
  const upstream = net.connect(realtime, () => {
    const headers = request.rawHeaders.map((part, i) => part + (i % 2 ? '\r\n' : ': ')).join('');
    upstream.write(`${request.method} ${request.url} HTTP/1.1\r\n${headers}\r\n`);
    upstream.write(head);
    socket.pipe(upstream).pipe(socket);
  });
  for (const end of [socket, upstream]) {
    end.setNoDelay(true);
    for (const event of ['error', 'close']) {
      end.on(event, () => {
        socket.destroy();
        upstream.destroy();
      });
    }
  }
}

// The supervisor starts this process beside Postgres and writes a line when Postgres answers; the end of this pipe
// is the end of the supervisor.
await once(process.stdin, 'data');
for (const event of ['end', 'close']) process.stdin.on(event, () => process.exit(0));
process.on('SIGTERM', () => process.exit(0));

const app = await startLite({
  adminUrl: env.LOCAL_DB_URL,
  url: env.GATEWAY_DB_URL,
  schemas: env.EXPOSED_SCHEMAS.split(','),
  jwtSecret: env.SUPABASE_JWT_SECRET,
  publishableKey: env.SUPABASE_PUBLISHABLE_KEY,
  secretKey: env.SUPABASE_SECRET_KEY,
});
const lite = getRequestListener(
  (request, { incoming }) => app.fetch(request, { peerAddress: incoming.socket.remoteAddress }),
  { overrideGlobalObjects: false },
);
const server = http.createServer((request, response) => {
  const service = /^\/(rest|auth|realtime)\/v1\//.exec(request.url)?.[1];
  if (service === undefined) response.writeHead(404).end(); // lite also serves its settings, connection and all
  else if (service === 'realtime') proxy(request, response);
  else lite(request, response);
});
server.on('upgrade', pipeUpgrade);
server.keepAliveTimeout = 65_000;
server.listen(Number(env.GATEWAY_PORT), '127.0.0.1');
