// A question to the stock worker: each user has one subscription to the changes of their rows, open before they ask.
import { randomUUID } from 'node:crypto';

const REREAD_MS = 30_000; // so that a change that was lost ends no bench; more often would only load a stack that is behind

export async function prepare(client, userId) {
  const handlers = new Map(); // by row
  const changes = { event: 'UPDATE', schema: 'public', table: 'stock_questions', filter: `user_id=eq.${userId}` };
  await new Promise((resolve, reject) => {
    client
      .channel('answers')
      .on('postgres_changes', changes, ({ new: row }) => handlers.get(row.id)?.(row))
      .on('system', {}, ({ status, message }) => (status === 'ok' ? resolve() : reject(new Error(message))))
      .subscribe();
  });
  return handlers;
}

export async function ask({ client, prepared: handlers }, question) {
  const id = randomUUID(); // known before the insert, so that no change can come too early
  const seen = { id, status: 'pending', rereads: 0 };
  const sent = performance.now();
  const since = () => performance.now() - sent;
  const ended = new Promise((resolve) => {
    handlers.set(id, (row) => {
      if (row.answer) seen.first_ms ??= since();
      if (row.status !== 'done') return;
      seen.finished_ms ??= since();
      resolve();
    });
  });
  const { error } = await client.from('stock_questions').insert({ id, question });
  if (error) throw error;
  seen.accepted_ms = since();
  const timer = setInterval(async () => {
    seen.rereads += 1;
    const { data } = await client.from('stock_questions').select('*').eq('id', id).maybeSingle();
    if (data) handlers.get(id)?.(data);
  }, REREAD_MS);
  await ended;
  clearInterval(timer);
  handlers.delete(id);
  return { ...seen, status: 'succeeded' };
}
