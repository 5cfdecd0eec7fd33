// Rowcall for the browser and for Node: insert a row, watch its answer arrive. One file without a dependency: copy it.
//
//   import { createClient } from '@supabase/supabase-js'
//   import { Rowcall } from './rowcall'
//
//   const rowcall = new Rowcall(createClient(url, publishableKey))   // your client, with its user signed in
//   for await (const delta of rowcall.stream('How long does a lease last?')) {
//     if (delta.beginsAgain) output.textContent = ''
//     output.append(delta.text)
//   }
//
// The row is the record. Realtime may lose messages, double them, or be away: each delta says where it belongs, and a
// gap, a reconnect or a silence leads to a read of the row. So no character is lost, and none comes twice.

const REREAD_MS = 5000 // an unfinished row is read again after so long a silence
const GAP_REREAD_MS = 500 // and after this one while text is missing
const APART_REREAD_MS = 1000 // and this often while Realtime is away
const READ_MS = 10_000 // for one read: a browser would wait for minutes
const GIVE_UP_MS = 60_000 // a project that did not answer for so long is gone
const TERMINAL = new Set(['succeeded', 'failed', 'refused', 'review', 'canceled'])
const ANSWERED = new Set(['succeeded', 'review'])

/** What is used of a supabase-js client. */
export interface Supabase {
  schema(name: any): any
  channel(topic: string, options?: any): any
  removeChannel(channel: any): Promise<unknown>
}

export interface Row {
  id: string
  status: string
  attempt: number
  answer: string | null
  citations: unknown[] | null
  error: { code: string; message: string } | null
  [column: string]: unknown
}

/** What is known of a generation now. `row` is the whole row once it has ended. */
export interface Update {
  status: string
  attempt: number
  text: string
  row?: Row
}

export interface Delta {
  text: string
  whole: string // all of it, this text included
  beginsAgain: boolean // what came before is void: another attempt began, or the row says otherwise
  row?: Row // with the last delta, whose text may be empty
}

export interface Submission {
  kind?: string
  options?: Record<string, unknown>
  idempotencyKey?: string
}

/** The row has ended without an answer: failed, refused or canceled. */
export class NotAnswered extends Error {
  constructor(readonly row: Row) {
    const error = row.error ?? { code: row.status, message: 'the generation was ended by its owner' }
    super(`${error.code}: ${error.message}`)
    this.name = 'NotAnswered'
  }
}

export class Rowcall {
  constructor(private readonly supabase: Supabase) {}

  /** The id of a new generation. */
  async submit(input: Record<string, unknown>, submission: Submission = {}): Promise<string> {
    const row: Record<string, unknown> = { kind: submission.kind ?? 'answer', input, options: submission.options ?? {} }
    if (submission.idempotencyKey !== undefined) row.idempotency_key = submission.idempotencyKey
    const { data, error } = await this.rowcall().from('generations').insert(row).select('id').single()
    if (error) throw refusal(error)
    return data.id
  }

  /** Inserts the question; its answer, piece by piece. Throws NotAnswered where it ends without one. */
  async *stream(question: string, options: Record<string, unknown> = {}, signal?: AbortSignal): AsyncGenerator<Delta> {
    yield* this.deltas(await this.submit({ question }, { options }), signal)
  }

  /** What `stream` gives, of a row that is there. */
  async *deltas(id: string, signal?: AbortSignal): AsyncGenerator<Delta> {
    let given = ''
    for await (const { status, text, row } of this.watch(id, signal)) {
      if (row && !ANSWERED.has(status)) throw new NotAnswered(row)
      const beginsAgain = !text.startsWith(given)
      const added = beginsAgain ? text : text.slice(given.length)
      given = text
      if (added || beginsAgain || row) yield { text: added, whole: text, beginsAgain, row }
    }
  }

  /** The row once it has ended. */
  async wait(id: string, signal?: AbortSignal): Promise<Row> {
    for await (const { row } of this.watch(id, signal)) if (row) return row
    throw new Error('a watch ends with the row')
  }

  /** False: it had ended, or is not this user's. */
  async cancel(id: string): Promise<boolean> {
    const { data, error } = await this.rowcall().rpc('cancel_generation', { id })
    if (error) throw refusal(error)
    return Boolean(data)
  }

  /** Updates until the row has ended; each brings more text or another status. */
  async *watch(id: string, signal?: AbortSignal): AsyncGenerator<Update> {
    const events = new Events<Event>()
    let isJoined = false
    const channel = this.supabase
      .channel(`generation:${id}`, { config: { private: true } })
      .on('broadcast', { event: 'delta' }, ({ payload }: any) => events.put({ delta: payload }))
      .on('broadcast', { event: 'done' }, () => events.put(REREAD))
      .on(
        'postgres_changes',
        { event: 'UPDATE', schema: 'rowcall', table: 'generations', filter: `id=eq.${id}` },
        ({ new: row }: any) => events.put(TERMINAL.has(row.status) ? REREAD : { running: row.attempt }),
      )
      .subscribe((state: string) => {
        isJoined = state === 'SUBSCRIBED'
        events.put(REREAD)
      })
    let known: Transcript = { status: 'queued', attempt: 0, text: '', hasGap: false }
    let unansweredSince: number | undefined
    let gapSince: number | undefined
    try {
      while (true) {
        gapSince = known.hasGap ? (gapSince ?? Date.now()) : undefined
        const patience = gapSince === undefined ? (isJoined ? REREAD_MS : APART_REREAD_MS) : gapSince + GAP_REREAD_MS - Date.now()
        // Deltas that go on behind a gap do not put its end off.
        const event = (patience > 0 && (await events.next(patience, signal))) || REREAD
        if (event === REREAD) gapSince = undefined
        const before = known
        let row: Row | undefined
        if ('delta' in event) {
          known = withDelta(known, event.delta)
        } else if ('running' in event) {
          known = withSnapshot(known, event.running, 'running', null)
        } else {
          const read = await this.read(id)
          if (read) {
            unansweredSince = undefined
            const { partial } = read
            known = withSnapshot(known, read.row.attempt, read.row.status, partial)
            if (TERMINAL.has(read.row.status)) {
              row = read.row
              known = { ...known, attempt: row.attempt, status: row.status, text: row.answer ?? '' }
            }
          } else {
            unansweredSince ??= Date.now()
            if (Date.now() - unansweredSince > GIVE_UP_MS) throw new Error('the project does not answer')
          }
        }
        const isNews = known.text !== before.text || known.status !== before.status || known.attempt !== before.attempt
        if (row || isNews) yield { status: known.status, attempt: known.attempt, text: known.text, row }
        if (row) return
      }
    } finally {
      await this.supabase.removeChannel(channel)
    }
  }

  /** The row, and the running attempt's text so far; undefined: the project does not answer just now. */
  private async read(id: string): Promise<{ row: Row; partial: string | null } | undefined> {
    const signal = AbortSignal.timeout(READ_MS)
    const found = await this.rowcall().from('generations').select('*').eq('id', id).abortSignal(signal).maybeSingle()
    if (isAway(found)) return undefined
    if (found.error) throw refusal(found.error)
    if (!found.data) throw new Error(`generation ${id} does not exist, or is not this user's`)
    const row: Row = found.data
    if (row.status !== 'running') return { row, partial: null }
    const attempts = this.rowcall().from('attempts').select('partial')
    const running = await attempts.eq('generation_id', id).eq('attempt', row.attempt).abortSignal(signal).maybeSingle()
    if (isAway(running)) return undefined
    if (running.error) throw refusal(running.error)
    return { row, partial: running.data?.partial ?? null }
  }

  private rowcall() {
    return this.supabase.schema('rowcall')
  }
}

// What a watching client knows. Strings of JavaScript count UTF-16 units, as the offsets of deltas do.
interface Transcript {
  readonly status: string
  readonly attempt: number
  readonly text: string
  readonly hasGap: boolean // something is missing behind `text`, which a read will bring
}

type Event = { delta: { attempt: number; offset: number; text: string } } | { running: number } | { reread: true }

const REREAD: Event = { reread: true }

/** Text of an older attempt is worth nothing; a newer one starts afresh. */
function withDelta(known: Transcript, delta: { attempt: number; offset: number; text: string }): Transcript {
  if (delta.attempt < known.attempt) return known
  const base: Transcript =
    delta.attempt === known.attempt ? known : { status: 'running', attempt: delta.attempt, text: '', hasGap: false }
  if (delta.offset > base.text.length) return { ...base, hasGap: true }
  if (delta.offset + delta.text.length < base.text.length) return base // an old message: what it says is known
  return { ...base, status: 'running', text: base.text.slice(0, delta.offset) + delta.text, hasGap: false }
}

/** A read of the row and of its current attempt's checkpoint. */
function withSnapshot(known: Transcript, attempt: number, status: string, partial: string | null): Transcript {
  if (attempt < known.attempt) return known
  const base: Transcript = attempt === known.attempt ? known : { status, attempt, text: '', hasGap: false }
  if (partial !== null && partial.length > base.text.length) return { status, attempt, text: partial, hasGap: false }
  return base.status === status ? base : { ...base, status }
}

class Events<Item> {
  private readonly waiting: Item[] = []
  private wake = () => {}

  put(item: Item) {
    this.waiting.push(item)
    this.wake()
  }

  /** The next one; undefined: none came within `patience` milliseconds. Throws the signal's reason. */
  async next(patience: number, signal?: AbortSignal): Promise<Item | undefined> {
    signal?.throwIfAborted()
    if (this.waiting.length === 0) {
      await new Promise<void>((resolve) => {
        const wake = () => {
          clearTimeout(timer)
          signal?.removeEventListener('abort', wake)
          resolve()
        }
        const timer = setTimeout(wake, patience)
        signal?.addEventListener('abort', wake)
        this.wake = wake
      })
      signal?.throwIfAborted()
    }
    return this.waiting.shift()
  }
}

/** No answer at all, or trouble on the other side: the same may be asked again. */
function isAway({ error, status }: { error: unknown; status: number }): boolean {
  return Boolean(error) && (!status || status >= 500)
}

function refusal(error: { message: string; code?: string; hint?: string | null }): Error {
  return new Error([`${error.message} (${error.code ?? ''}).`, error.hint].filter(Boolean).join(' '))
}
