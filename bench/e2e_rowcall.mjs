// A question to Rowcall: insert, subscribe to the row's private topic, read the row, apply deltas, read it when it is done.
import { setTimeout as sleep } from 'node:timers/promises';

const GAP_REREAD_MS = 500; // so long may a later message bring what is missing, as in worker/client.py
const REREAD_MS = 5000; // an unfinished row is read again after so long a silence
const LATE_MS = 2000; // `done` comes by another way than deltas and may overtake the last of them
const TERMINAL = new Set(['succeeded', 'failed', 'refused', 'review', 'canceled']);

// worker/transcript.py in JavaScript, whose strings count UTF-16 units as the offsets do.
class Transcript {
  attempt = 0;
  text = '';
  hasGap = false;
  healed = 0; // gaps that a key frame closed

  apply({ attempt, offset, text }) {
    if (attempt < this.attempt) return;
    if (attempt > this.attempt) Object.assign(this, { attempt, text: '', hasGap: false });
    if (offset > this.text.length) {
      this.hasGap = true;
    } else if (offset + text.length >= this.text.length) {
      if (this.hasGap) this.healed += 1;
      this.hasGap = false;
      this.text = this.text.slice(0, offset) + text;
    }
  }

  applyPartial(attempt, partial) {
    if (attempt < this.attempt || partial.length <= this.text.length) return;
    Object.assign(this, { attempt, text: partial, hasGap: false });
  }
}

class Watch {
  transcript = new Transcript();
  gaps = 0; // text that was missing until it was read
  rereads = 0;
  #sent = performance.now();
  #heard = performance.now();

  constructor(client) {
    this.client = client;
    this.api = client.schema('rowcall');
    this.ended = new Promise((resolve, reject) => Object.assign(this, { resolve, reject }));
  }

  since() {
    return performance.now() - this.#sent;
  }

  async insert(question, options) {
    const row = { input: { question }, options };
    const { data, error } = await this.api.from('generations').insert(row).select('id').single();
    if (error) throw error;
    this.accepted_ms = this.since();
    this.id = data.id;
  }

  subscribe() {
    return this.client
      .channel(`generation:${this.id}`, { config: { private: true } })
      .on('broadcast', { event: 'delta' }, ({ payload }) => this.onDelta(payload))
      .on('broadcast', { event: 'done' }, () => this.readNow())
      .subscribe((status) => status === 'SUBSCRIBED' && this.readNow());
  }

  onDelta(delta) {
    this.#heard = performance.now();
    const hadGap = this.transcript.hasGap;
    this.transcript.apply(delta);
    if (this.transcript.hasGap && !hadGap) setTimeout(() => this.mend(), GAP_REREAD_MS);
    this.noteText();
  }

  mend() {
    if (!this.transcript.hasGap) return;
    this.gaps += 1;
    this.readNow();
  }

  noteText() {
    if (this.transcript.text) this.first_ms ??= this.since();
  }

  breakSilence() {
    if (performance.now() - this.#heard < REREAD_MS) return;
    this.#heard = performance.now();
    this.rereads += 1;
    this.readNow();
  }

  readNow() {
    this.read().catch(this.reject);
  }

  async read() {
    const { data: row, error } = await this.api.from('generations').select('*').eq('id', this.id).single();
    if (error) throw error;
    if (TERMINAL.has(row.status)) {
      this.finished_ms ??= this.since();
      return this.resolve(row);
    }
    if (row.status !== 'running') return;
    const attempts = this.api.from('attempts').select('partial');
    const running = await attempts.eq('generation_id', this.id).eq('attempt', row.attempt).maybeSingle();
    if (running.data?.partial) this.transcript.applyPartial(row.attempt, running.data.partial);
    this.noteText();
  }

  async followToTheEnd() {
    const channel = this.subscribe();
    const timer = setInterval(() => this.breakSilence(), REREAD_MS / 5);
    try {
      const row = await this.ended;
      const deadline = performance.now() + LATE_MS;
      while (this.transcript.text !== row.answer && performance.now() < deadline) await sleep(20);
      return row;
    } finally {
      clearInterval(timer);
      await this.client.removeChannel(channel);
    }
  }
}

export async function prepare() {}

export async function ask({ client }, question, options) {
  const watch = new Watch(client);
  await watch.insert(question, options);
  const row = await watch.followToTheEnd();
  const { id, accepted_ms, first_ms, finished_ms, gaps, rereads, transcript } = watch;
  const streamed = { gaps, rereads, healed: transcript.healed, exact: transcript.text === row.answer };
  return { id, status: row.status, accepted_ms, first_ms, finished_ms, ...streamed };
}
