-- An answer that could not be kept in the cache is told to the worker, which logs and counts it. It has been given all the same.

-- What remember_answers did, and raises where it fails.
create function rowcall.keep_answers(entries jsonb[]) returns void
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
end $$;

-- As before, for workers that call finish_generations_v2.
create or replace function rowcall.remember_answers(entries jsonb[]) returns void
language plpgsql set search_path = '' as $$
begin
  perform rowcall.keep_answers(entries);
exception when others then
  raise warning 'rowcall: answers were not cached: % (%)', sqlerrm, sqlstate;
end $$;

-- The same; what breaks one entry leaves the others. Answers those that could not be kept, and why.
create function rowcall.remember_answers_v2(entries jsonb[]) returns table (id uuid, problem text)
language plpgsql set search_path = '' as $$
declare
  entry jsonb;
begin
  begin
    perform rowcall.keep_answers(entries);
    return;
  exception when others then
    problem := format('%s (%s)', sqlerrm, sqlstate);
  end;
  if cardinality(entries) = 1 then
    id := entries[1] ->> 'id';
    return next;
    return;
  end if;
  foreach entry in array entries loop
    return query select r.id, r.problem from rowcall.remember_answers_v2(array[entry]) r;
  end loop;
end $$;

-- As finish_generations_v2, and uncached: why the row's answer could not be kept in the cache.
create function rowcall.finish_generations_v3(results jsonb[])
returns table (id uuid, attempt integer, accepted boolean, problem text, uncached text)
language plpgsql set search_path = '' as $$
declare
  ended   jsonb[];
  entries jsonb[];
begin
  ended := array(select to_jsonb(f) from rowcall.finish_generations_v1(results) f);
  entries := array(
    select (e -> 'reusable') || jsonb_build_object('id', e -> 'id')
      from unnest(results) e join unnest(ended) f on f ->> 'id' = e ->> 'id' and f ->> 'attempt' = e ->> 'attempt'
     where (f -> 'accepted')::boolean and jsonb_typeof(e -> 'reusable') = 'object');
  return query
    select f.id, f.attempt, f.accepted, f.problem, u.problem
      from unnest(ended) e, jsonb_to_record(e) f (id uuid, attempt integer, accepted boolean, problem text)
      left join (select r.* from rowcall.remember_answers_v2(entries) r where entries <> '{}') u on u.id = f.id
     order by f.id;
end $$;

revoke all on function rowcall.keep_answers(jsonb[]), rowcall.remember_answers_v2(jsonb[]), rowcall.finish_generations_v3(jsonb[])
  from public, anon, authenticated, service_role;
grant execute on function rowcall.keep_answers(jsonb[]), rowcall.remember_answers_v2(jsonb[]), rowcall.finish_generations_v3(jsonb[]) to service_role;
