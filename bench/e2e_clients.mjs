// Signed-in users of supabase-js who insert questions at a fixed rate and watch the answers through Realtime:
//   node e2e_clients.mjs '{"to": "rowcall" | "stock", "users", "rate", "seconds", "patience_s", "questions", "options"}'
// signs them up and prints `ready`; when a line comes in it begins, and prints one JSON object a row: milliseconds since
// its insert was sent, and how its stream fared.
import { once } from 'node:events';
import { randomUUID } from 'node:crypto';
import { createRequire } from 'node:module';
import { setTimeout as sleep } from 'node:timers/promises';
import * as rowcall from './e2e_rowcall.mjs';
import * as stock from './e2e_stock.mjs';

const require = createRequire(`${process.env.LOCAL_MODULES}/package.json`);
const { createClient } = require('@supabase/supabase-js');
const ws = require('ws');
const { SUPABASE_URL, SUPABASE_PUBLISHABLE_KEY } = process.env;

const plan = JSON.parse(process.argv[2]);
const { prepare, ask } = { rowcall, stock }[plan.to];

// A session and an open websocket each, as an app has before its user asks anything.
async function signUp() {
  const client = createClient(SUPABASE_URL, SUPABASE_PUBLISHABLE_KEY, {
    auth: { persistSession: false, autoRefreshToken: false },
    realtime: { transport: ws },
  });
  const { data, error } = await client.auth.signUp({ email: `${randomUUID()}@example.com`, password: 'correct horse' });
  if (error) throw error;
  await client.realtime.setAuth(data.session.access_token);
  client.realtime.connect();
  while (!client.realtime.isConnected()) await sleep(10);
  return { client, prepared: await prepare(client, data.user.id) };
}

async function outcomeOf(user, question) {
  const patience = sleep(1000 * plan.patience_s, { error: 'unfinished when patience ended' }, { ref: false });
  const asked = ask(user, question, plan.options).catch((error) => ({ error: String(error?.message ?? error) }));
  return Promise.race([asked, patience]);
}

const users = [];
for (let n = 0; n < plan.users; n++) users.push(await signUp());
console.log('ready');
await once(process.stdin, 'data');
const outcomes = [];
const began = performance.now();
for (let n = 0; n < plan.rate * plan.seconds; n++) {
  // An open loop: who inserts does not wait for answers, nor for a server that has fallen behind.
  await sleep(Math.max(0, began + (1000 * n) / plan.rate - performance.now()));
  outcomes.push(outcomeOf(users[n % users.length], plan.questions[n % plan.questions.length]));
}
for (const outcome of await Promise.all(outcomes)) console.log(JSON.stringify(outcome));
process.exitCode = 0;
process.stdout.write('', () => process.exit());
