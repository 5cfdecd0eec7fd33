-- Answers that are given again. An entry is made in the transaction that finishes its answer, and found by the context call, so neither costs
-- a round trip. It is shown to the worker only for an asker who may read every chunk that was in its prompt, as
-- their documents are today; whether it fits the question is
-- decided there (jobs/decisions/caching.py).

alter table rowcall.answer_cache
  add column scope          text     not null default '',     -- a hash of what must be alike: kind, prompt, route, model, filter
  add column generation_id  uuid     constraint answer_cache_generation_id_fkey references rowcall.generations (id) on delete cascade,   -- whose answer it is
  add column seen_chunk_ids bigint[] not null default '{}',   -- every chunk that the question found, in the prompt or not
  add column had_examples   boolean  not null default false,  -- in its prompt, which only who asked first may see
  add column tokens_in      integer,                          -- what the answer took: what giving it again saves
  add column tokens_out     integer,
  add column cost_usd       numeric,
  add column fresh_until    timestamptz not null default now();   -- between then and expires_at it is stale: for when models fail
create index answer_cache_scope      on rowcall.answer_cache (tenant, scope, created_at desc);
create index answer_cache_generation on rowcall.answer_cache (generation_id);
comment on column rowcall.answer_cache.hits is 'not counted here: rowcall.calls.reused_id says which calls an entry has spared';

-- A call that was not made, since an answer was given again. No foreign key: the ledger keeps its numbers when the entry goes.
alter table rowcall.calls
  add column reused_id        bigint,    -- of rowcall.answer_cache
  add column saved_tokens_in  integer,
  add column saved_tokens_out integer,
  add column saved_usd        numeric;
create index calls_reused on rowcall.calls (reused_id) where reused_id is not null;

insert into rowcall.limits (name, value, description) values
  ('cached_answers_per_scope', 2000, 'answers kept to be given again, for each tenant and scope; the oldest go');

-- As before, and what a call saved.
create or replace function rowcall.close_calls(closings jsonb[], settled uuid[] default '{}') returns void
language sql set search_path = '' as $$
  with given as (
    select distinct on (c.id) c.*
      from unnest(closings) e, jsonb_to_record(e) c (id uuid, status text, purpose text, provider text, model text, route text, tokens_in integer,
           tokens_cached integer, tokens_out integer, tokens_reasoning integer, cost_usd numeric, first_token_ms integer, duration_ms integer,
           error_code text, is_estimated boolean, reused_id bigint, saved_tokens_in integer, saved_tokens_out integer, saved_usd numeric)
     where c.id is not null
     order by c.id),
  mine as materialized (
    select k.id from rowcall.calls k
     where k.id in (select g.id from given g) and k.status in ('open', 'abandoned') or k.generation_id = any (settled) and k.status = 'open'
     order by k.id for no key update),
  forgotten as (
    update rowcall.calls k set status = 'abandoned', finished_at = now()
      from mine m where k.id = m.id and k.id not in (select g.id from given g)),
  closed as (
    update rowcall.calls k
       set status = g.status, purpose = coalesce(g.purpose, k.purpose),
           provider = coalesce(g.provider, k.provider), model = coalesce(g.model, k.model), route = coalesce(g.route, k.route),
           tokens_in = g.tokens_in, tokens_cached = g.tokens_cached, tokens_out = g.tokens_out, tokens_reasoning = g.tokens_reasoning,
           cost_usd = g.cost_usd, first_token_ms = g.first_token_ms, duration_ms = g.duration_ms, error_code = g.error_code,
           is_estimated = coalesce(g.is_estimated, false), reused_id = g.reused_id, saved_tokens_in = g.saved_tokens_in,
           saved_tokens_out = g.saved_tokens_out, saved_usd = g.saved_usd, finished_at = now()
      from given g join mine m on m.id = g.id
     where k.id = g.id
    returning k.tenant, k.cost_usd, k.tokens_in, k.tokens_out)
  insert into rowcall.spend as s (tenant, day, cost_usd, calls, unpriced_calls, tokens_in, tokens_out)
  select c.tenant, (now() at time zone 'utc')::date, coalesce(sum(c.cost_usd), 0), count(*), count(*) filter (where c.cost_usd is null),
         coalesce(sum(c.tokens_in), 0), coalesce(sum(c.tokens_out), 0)
    from closed c where c.tenant is not null group by c.tenant order by c.tenant
  on conflict (tenant, day) do update
     set cost_usd = s.cost_usd + excluded.cost_usd, calls = s.calls + excluded.calls, unpriced_calls = s.unpriced_calls + excluded.unpriced_calls,
         tokens_in = s.tokens_in + excluded.tokens_in, tokens_out = s.tokens_out + excluded.tokens_out
$$;

-- What context_v1 finds, and the cached answers to the nearest questions of the same tenant and scope, nearest first: those of whose chunks the
-- asker may read every one, and every one stands in its document's present revision. A document that changed is served from again when its
-- ingest has confirmed the chunk; a chunk that changed has another id. Stale answers are among them, marked; those that somebody rated -1,
-- there or where they were given again, are not. None for a question with history: its words do not say what is asked.
-- is_private: made with examples of somebody else, so only for one whose prompt would hold the same.
create function rowcall.context_v2(
  generation_id uuid, attempt integer, question text, query_embedding extensions.vector, embedding_model text,
  max_chunks integer default 30, max_examples integer default 0, cache_scope text default null, max_cached integer default 4,
  opens jsonb[] default '{}', exact_up_to integer default 5000)
returns jsonb
language plpgsql set search_path = public, extensions set plan_cache_mode = 'force_custom_plan' set jit = 'off' as $$
declare
  caller   text  := current_user;
  found    jsonb := rowcall.context_v1(generation_id, attempt, question, query_embedding, embedding_model, max_chunks, max_examples,
                                       null, opens, exact_up_to) - 'cached';
  g        rowcall.generations := rowcall.held_generation(generation_id, attempt);
  nearest  rowcall.answer_cache[];
  readable bigint[];
begin
  if cache_scope is null or g.tenant is null or g.input ? 'history' then
    return found || '{"cached": []}';
  end if;
  nearest := array(
    select n.entry from (
      select a as entry from rowcall.answer_cache a
       where a.tenant = g.tenant and a.scope = cache_scope and a.embedding_model = context_v2.embedding_model and a.expires_at > now()
       order by (a.embedding operator(extensions.<=>) query_embedding) + 0 limit 20) n
     where not exists (select from rowcall.feedback f where f.generation_id = (n.entry).generation_id and f.rating < 0)
       and not exists (select from rowcall.calls k join rowcall.feedback f using (generation_id)
                        where k.reused_id = (n.entry).id and k.created_at >= (n.entry).created_at and f.rating < 0));
  perform rowcall.become(g.user_id, g.claims);
  readable := array(
    select n.id from unnest(nearest) n
     where cardinality(n.chunk_ids) > 0 and cardinality(n.chunk_ids) = (
             select count(*) from rowcall.chunks c join rowcall.documents d on d.id = c.document_id and d.revision = c.revision
              where c.id = any (n.chunk_ids)));
  perform set_config('role', caller, true);
  return found || jsonb_build_object('cached', coalesce((
    select jsonb_agg(jsonb_build_object(
             'id', n.id, 'question_key', n.question_key, 'question', n.question, 'answer', n.answer, 'citations', n.citations,
             'chunk_ids', n.chunk_ids, 'seen_chunk_ids', n.seen_chunk_ids, 'route', n.route, 'tokens_in', n.tokens_in,
             'tokens_out', n.tokens_out, 'cost_usd', n.cost_usd, 'age_s', extract(epoch from now() - n.created_at)::float8,
             'is_fresh', n.fresh_until > now(), 'is_private', n.had_examples and n.user_id is distinct from g.user_id, 'similarity', n.similarity) order by n.similarity desc)
      from (select m.*, 1 - (m.embedding operator(extensions.<=>) query_embedding) as similarity from unnest(nearest) m
             where m.id = any (readable) order by similarity desc limit max_cached) n), '[]'));
end $$;

-- The entries of answers that have just been finished, one for each question: {"id", "scope", "question_key", "question", "embedding",
-- "embedding_model", "chunk_ids", "seen_chunk_ids", "had_examples", "ttl_s", "stale_s"}. In the order of their keys, so that two batches cannot deadlock.
create function rowcall.remember_answers(entries jsonb[]) returns void
language plpgsql set search_path = '' as $$
declare
  too_old bigint[];
begin
  with entry as (
    select distinct on (g.tenant, e.question_key) g.tenant, g.user_id, g.answer, g.citations, g.route, g.prompt_version, g.tokens_in, g.tokens_out,
           g.cost_usd, e.*
      from unnest(entries) x, jsonb_to_record(x) e (id uuid, scope text, question_key text, question text, embedding text, embedding_model text,
           chunk_ids bigint[], seen_chunk_ids bigint[], had_examples boolean, ttl_s double precision, stale_s double precision)
      join rowcall.generations g on g.id = e.id and g.status = 'succeeded' and g.tenant is not null and not g.input ? 'history'
     order by g.tenant, e.question_key)
  insert into rowcall.answer_cache as c (generation_id, tenant, scope, question_key, question, embedding, embedding_model, answer, citations, chunk_ids,
         seen_chunk_ids, had_examples, route, prompt_version, user_id, tokens_in, tokens_out, cost_usd, created_at, fresh_until, expires_at)
  select e.id, e.tenant, e.scope, e.question_key, e.question, e.embedding::extensions.vector, e.embedding_model, e.answer, coalesce(e.citations, '[]'),
         e.chunk_ids, e.seen_chunk_ids, coalesce(e.had_examples, false), e.route, e.prompt_version, e.user_id, e.tokens_in, e.tokens_out, e.cost_usd, now(),
         now() + make_interval(secs => e.ttl_s), now() + make_interval(secs => e.ttl_s + e.stale_s)
    from entry e
  on conflict on constraint answer_cache_question do update
     set generation_id = excluded.generation_id, had_examples = excluded.had_examples, scope = excluded.scope, question = excluded.question, embedding = excluded.embedding, embedding_model = excluded.embedding_model,
         answer = excluded.answer, citations = excluded.citations, chunk_ids = excluded.chunk_ids, seen_chunk_ids = excluded.seen_chunk_ids,
         route = excluded.route, prompt_version = excluded.prompt_version, user_id = excluded.user_id, tokens_in = excluded.tokens_in,
         tokens_out = excluded.tokens_out, cost_usd = excluded.cost_usd, created_at = excluded.created_at, fresh_until = excluded.fresh_until, expires_at = excluded.expires_at;
  too_old := array(
    select k.id from (select distinct g.tenant, x ->> 'scope' as scope from unnest(entries) x join rowcall.generations g on g.id = (x ->> 'id')::uuid) s,
           lateral (select a.id from rowcall.answer_cache a where a.tenant = s.tenant and a.scope = s.scope order by a.created_at desc, a.id desc
                    offset (select l.value::integer from rowcall.limits l where l.name = 'cached_answers_per_scope')) k);
  delete from rowcall.answer_cache c   -- another batch may be doing the same: what is locked is left to it
   where c.id in (select a.id from rowcall.answer_cache a where a.id = any (too_old) for update skip locked);
exception when others then   -- an answer that cannot be given again has been given all the same
  raise warning 'rowcall: answers were not cached: % (%)', sqlerrm, sqlstate;
end $$;

-- As finish_generations_v1. A result may also hold "reusable": the entry that it makes in the cache, without its id.
create function rowcall.finish_generations_v2(results jsonb[]) returns table (id uuid, attempt integer, accepted boolean, problem text)
language plpgsql set search_path = '' as $$
declare
  entries jsonb[] := '{}';
begin
  for id, attempt, accepted, problem in select f.id, f.attempt, f.accepted, f.problem from rowcall.finish_generations_v1(results) f loop
    if accepted then
      entries := entries || array(select (e -> 'reusable') || jsonb_build_object('id', finish_generations_v2.id) from unnest(results) e
                                   where (e ->> 'id')::uuid = finish_generations_v2.id and jsonb_typeof(e -> 'reusable') = 'object');
    end if;
    return next;
  end loop;
  if entries <> '{}' then
    perform rowcall.remember_answers(entries);
  end if;
end $$;

revoke all on function rowcall.remember_answers(jsonb[]), rowcall.finish_generations_v2(jsonb[]),
  rowcall.context_v2(uuid, integer, text, extensions.vector, text, integer, integer, text, integer, jsonb[], integer)
  from public, anon, authenticated, service_role;
grant execute on function rowcall.remember_answers(jsonb[]), rowcall.finish_generations_v2(jsonb[]),
  rowcall.context_v2(uuid, integer, text, extensions.vector, text, integer, integer, text, integer, jsonb[], integer)
  to service_role;
