// supabase-js under a test's command: a JSON line on standard input does something, everything heard is printed.
import { createRequire } from 'node:module';
import { createInterface } from 'node:readline';

const require = createRequire(`${process.env.LOCAL_MODULES}/package.json`);
const { createClient } = require('@supabase/supabase-js');
const ws = require('ws');
const { SUPABASE_URL, SUPABASE_PUBLISHABLE_KEY } = process.env;

let token = SUPABASE_PUBLISHABLE_KEY;
const client = createClient(SUPABASE_URL, SUPABASE_PUBLISHABLE_KEY, {
  accessToken: async () => token,
  realtime: { transport: ws },
});
const channels = new Map();

const say = (heard) => console.log(JSON.stringify(heard));

const commands = {
  authorize(parameters) {
    token = parameters.token;
    return client.realtime.setAuth();
  },

  subscribe({ topic, config, changes = [] }) {
    const channel = client.channel(topic, { config: config ?? {} });
    channels.set(topic, channel);
    for (const filter of changes) {
      channel.on('postgres_changes', filter, (change) => say({ heard: 'change', topic, ...change }));
    }
    channel
      .on('broadcast', { event: '*' }, ({ event, payload, meta }) => {
        const bytes = payload instanceof ArrayBuffer ? [...new Uint8Array(payload)] : undefined;
        say({ heard: 'broadcast', topic, event, payload: bytes ?? payload, meta });
      })
      .on('system', {}, ({ extension, status, message }) => say({ heard: 'system', topic, extension, status, message }))
      .subscribe((state, error) => say({ heard: 'state', topic, state, error: error?.cause ?? error?.message }));
  },

  async send({ topic, event, payload, bytes }) {
    const content = bytes ? new Uint8Array(bytes).buffer : payload;
    const result = await channels.get(topic).send({ type: 'broadcast', event, payload: content });
    say({ heard: 'sent', topic, result });
  },

  async httpSend({ topic, event, payload }) {
    const result = await channels
      .get(topic)
      .httpSend(event, payload)
      .catch((error) => error.message);
    say({ heard: 'sent', topic, result });
  },

  async leave({ topic }) {
    say({ heard: 'left', topic, result: await client.removeChannel(channels.get(topic)) });
  },
};

for await (const line of createInterface({ input: process.stdin })) {
  const { command, ...parameters } = JSON.parse(line);
  await commands[command](parameters);
}
process.exit(0);
