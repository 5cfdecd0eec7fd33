-- What `rowcall calibrate` learns from, and its own model calls in the ledger.

-- Answers that somebody has rated since then, in the order of their ids, after that one: the question, the route that answered, the mean rating
-- as 0 to 1. Not those given again from the cache: no route answered them.
create function rowcall.rated_answers_v1(since timestamptz, after uuid, max_rows integer)
returns table (id uuid, input jsonb, route text, quality double precision, tokens_in integer, tokens_out integer)
language sql stable set search_path = '' set statement_timeout = '60s' as $$
  select g.id, g.input, g.route, avg((f.rating + 1) / 2.0)::double precision, g.tokens_in, g.tokens_out
    from rowcall.feedback f join rowcall.generations g on g.id = f.generation_id
   where f.created_at >= since and f.generation_id > after
     and g.kind = 'answer' and g.status = 'succeeded' and g.route is not null and g.tokens_in is not null and g.tokens_out is not null
     and not exists (select from rowcall.calls k where k.generation_id = g.id and k.reused_id is not null)
   group by g.id
   order by g.id
   limit max_rows
$$;

-- A model call that belongs to no row, opened before it is made; close_calls_v1 closes it. No tenant pays for it.
create function rowcall.open_operator_call_v1(kind text, purpose text, provider text, model text) returns uuid
language sql set search_path = '' as $$
  insert into rowcall.calls (kind, attempt, purpose, provider, model) values (kind, 1, purpose, provider, model) returning id
$$;

revoke all on function rowcall.rated_answers_v1(timestamptz, uuid, integer), rowcall.open_operator_call_v1(text, text, text, text)
  from public, anon, authenticated, service_role;
grant execute on function rowcall.rated_answers_v1(timestamptz, uuid, integer), rowcall.open_operator_call_v1(text, text, text, text)
  to service_role;
