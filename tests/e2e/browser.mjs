// examples/rowcall.ts, compiled, with supabase-js in Node: prints every delta as a line, then how it ended.
import { createRequire } from 'node:module';

const require = createRequire(`${process.env.LOCAL_MODULES}/package.json`);
const { createClient } = require('@supabase/supabase-js');
const ws = require('ws');
const { SUPABASE_URL, SUPABASE_PUBLISHABLE_KEY, ACCESS_TOKEN, ROWCALL_JS, QUESTION, CANCEL_AFTER } = process.env;
const { NotAnswered, Rowcall } = await import(ROWCALL_JS);

const client = createClient(SUPABASE_URL, SUPABASE_PUBLISHABLE_KEY, {
  accessToken: async () => ACCESS_TOKEN,
  realtime: { transport: ws },
});
await client.realtime.setAuth();
const rowcall = new Rowcall(client);
const say = (line) => console.log(JSON.stringify(line));

try {
  const id = await rowcall.submit({ question: QUESTION });
  let canceled = false;
  for await (const delta of rowcall.deltas(id)) {
    say({ text: delta.text, whole: delta.whole, begins_again: delta.beginsAgain, row: delta.row ?? null });
    if (CANCEL_AFTER && !canceled && delta.whole.length > Number(CANCEL_AFTER)) canceled = await rowcall.cancel(id);
  }
  const row = await rowcall.wait(id);
  say({ waited: row.status });
} catch (error) {
  say({ not_answered: error instanceof NotAnswered, message: error.message });
}
await client.realtime.disconnect();
process.exit(0);
