// pg_net's background worker: takes requests from net.http_request_queue after their commit and sends each once.
import { once } from 'node:events';
import http from 'node:http';
import https from 'node:https';
import postgres from 'postgres';

const CONCURRENCY = 64;
const KEEP_RESPONSES = '6 hours';
const SAFETY_POLL_MS = 1_000; // a notification that was missed while reconnecting
const SWEEP_MS = 60_000;

// Not fetch: it refuses some ports. A free connection is kept for less than any server would keep it.
const clients = {
  'http:': { client: http, agent: new http.Agent({ keepAlive: true, timeout: 1_000 }) },
  'https:': { client: https, agent: new https.Agent({ keepAlive: true, timeout: 1_000 }) },
};

function send(url, method, headers, body, signal) {
  const { client, agent } = clients[url.protocol] ?? {};
  if (client === undefined) return Promise.reject(new Error(`Unsupported protocol ${url.protocol}`));
  return new Promise((resolve, reject) => {
    const request = client.request(url, { method, headers, agent, signal }, async (answer) => {
      try {
        resolve({ answer, content: Buffer.concat(await answer.toArray()).toString() });
      } catch (error) {
        reject(error);
      }
    });
    request.on('error', reject);
    request.end(body ?? undefined);
  });
}

// Redirects are followed as curl does for pg_net: with a GET, without the body.
async function sendFollowing(url, method, headers, body, signal, redirects = 10) {
  const { answer, content } = await send(url, method, headers, body, signal);
  const { location } = answer.headers;
  if (![301, 302, 303].includes(answer.statusCode) || location === undefined || redirects === 0) {
    return { answer, content };
  }
  return sendFollowing(new URL(location, url), 'GET', {}, undefined, signal, redirects - 1);
}

async function exchange({ method, url, headers, body, timeout_milliseconds }) {
  const signal = AbortSignal.timeout(timeout_milliseconds);
  try {
    const { answer, content } = await sendFollowing(new URL(url), method.toUpperCase(), headers ?? {}, body, signal);
    return {
      status_code: answer.statusCode,
      content_type: answer.headers['content-type'] ?? null,
      headers: answer.headers,
      content,
      timed_out: false,
      error_msg: null,
    };
  } catch (error) {
    const reason = signal.aborted ? `Timeout of ${timeout_milliseconds} ms reached.` : String(error);
    const nothing = { status_code: null, content_type: null, headers: null, content: null };
    return { ...nothing, timed_out: signal.aborted, error_msg: reason };
  }
}

class Drain {
  #sql;
  #free = CONCURRENCY;
  #draining = false;
  #again = false;

  constructor(url) {
    this.#sql = postgres(url, { max: 3, onnotice() {} });
  }

  async run() {
    await this.#sql.listen('net_wake', () => this.drain(), () => this.drain());
    setInterval(() => this.drain(), SAFETY_POLL_MS);
    setInterval(() => this.#sweep(), SWEEP_MS);
  }

  // One at a time; a wake-up that comes meanwhile leads to one more round, so that none is lost.
  async drain() {
    this.#again = true;
    if (this.#draining) return;
    this.#draining = true;
    try {
      while (this.#again && this.#free > 0) {
        this.#again = false;
        const requests = await this.#take(this.#free);
        if (requests.length > 0) this.#again = true;
        for (const request of requests) this.#send(request);
      }
    } catch (error) {
      console.error('drain:', error.message); // Postgres is away: the next poll tries again
    } finally {
      this.#draining = false;
    }
  }

  // Deleted before it is sent: at most once, as the original.
  #take(limit) {
    return this.#sql`
      with taken as (
        delete from net.http_request_queue where id in (
          select id from net.http_request_queue order by id limit ${limit} for update skip locked)
        returning id, method, url, headers, body, timeout_milliseconds)
      select * from taken order by id`;
  }

  async #send(request) {
    this.#free -= 1;
    const response = await exchange(request);
    this.#free += 1;
    if (this.#again) this.drain();
    try {
      await this.#sql`insert into net._http_response ${this.#sql({ id: request.id, ...response })}`;
    } catch (error) {
      console.error(`response of request ${request.id}:`, error.message);
    }
  }

  async #sweep() {
    try {
      await this.#sql`delete from net._http_response where created < now() - ${KEEP_RESPONSES}::interval`;
    } catch (error) {
      console.error('sweep:', error.message);
    }
  }
}

await once(process.stdin, 'data');
for (const event of ['end', 'close']) process.stdin.on(event, () => process.exit(0));
process.on('SIGTERM', () => process.exit(0));
await new Drain(process.env.LOCAL_DB_URL).run();
