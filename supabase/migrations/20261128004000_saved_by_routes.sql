-- What an answer saves where it is given again: the calls of the routes that wrote it. It kept what its row took, embedding and reranker included,
-- and those are asked again each time; so `saved_tokens_in` was more than was saved, by a reranker's 24 passages several times as much.

-- As before, with what the calls of routes took.
create or replace function rowcall.keep_answers(entries jsonb[]) returns void
language plpgsql set search_path = '' as $$
declare
  too_old bigint[];
begin
  with entry as (
    select distinct on (g.tenant, e.question_key) g.tenant, g.user_id, g.answer, g.citations, g.route, g.prompt_version, k.tokens_in, k.tokens_out,
           k.cost_usd, e.*
      from unnest(entries) x, jsonb_to_record(x) e (id uuid, scope text, question_key text, question text, embedding text, embedding_model text,
           chunk_ids bigint[], seen_chunk_ids bigint[], had_examples boolean, ttl_s double precision, stale_s double precision)
      join rowcall.generations g on g.id = e.id and g.status = 'succeeded' and g.tenant is not null and not g.input ? 'history'
      cross join lateral (
        select sum(c.tokens_in)::integer as tokens_in, sum(c.tokens_out)::integer as tokens_out,
               case when bool_and(c.cost_usd is not null) then sum(c.cost_usd) end as cost_usd
          from rowcall.calls c
         where c.generation_id = g.id and c.attempt = g.attempt and c.route is not null and c.status = 'succeeded') k
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
