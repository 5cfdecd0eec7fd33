// supabase-js against a running stack: prints what it saw as JSON. The packages are those of worker/local.
import { randomUUID } from 'node:crypto';
import { createRequire } from 'node:module';

const require = createRequire(`${process.env.LOCAL_MODULES}/package.json`);
const { createClient } = require('@supabase/supabase-js');
const ws = require('ws');
const { SUPABASE_URL, SUPABASE_PUBLISHABLE_KEY, SUPABASE_SECRET_KEY } = process.env;

const settings = { auth: { persistSession: false, autoRefreshToken: false }, realtime: { transport: ws } };

async function signedUp() {
  const client = createClient(SUPABASE_URL, SUPABASE_PUBLISHABLE_KEY, settings);
  const { error } = await client.auth.signUp({ email: `${randomUUID()}@example.com`, password: 'correct horse' });
  if (error) throw error;
  return client;
}

function bodies({ data, error }) {
  if (error) throw error;
  return data.map((row) => row.body);
}

const [one, other] = await Promise.all([signedUp(), signedUp()]);
const service = createClient(SUPABASE_URL, SUPABASE_SECRET_KEY, settings);
const inserted = await one.from('notes').insert({ body: 'mine' }).select('id').single();
if (inserted.error) throw inserted.error;

console.log(
  JSON.stringify({
    own: bodies(await one.from('notes').select('body')),
    others: bodies(await other.from('notes').select('body')),
    updated: bodies(await service.from('notes').update({ body: 'seen' }).eq('id', inserted.data.id).select('body')),
    role: (await one.rpc('who')).data,
  }),
);
process.exit(0);
