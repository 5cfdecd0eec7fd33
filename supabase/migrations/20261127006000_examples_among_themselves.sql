-- How near the examples of a context are to each other. Where many have the same answer, their vectors together tell more about a question than the
-- nearest of them (docs/quality.md, few-shot examples); numbers for each pair are a fiftieth of the vectors' bytes.

-- What context_v2 finds, but examples nearest first, each with "to_nearer": the cosines of its question with those of the examples before it.
-- Beyond the 12 nearest only those whose answer another of them has: texts of few answers are short, and others have no use for so many.
create function rowcall.context_v3(
  generation_id uuid, attempt integer, question text, query_embedding extensions.vector, embedding_model text,
  max_chunks integer default 30, max_examples integer default 0, cache_scope text default null, max_cached integer default 4,
  opens jsonb[] default '{}', exact_up_to integer default 5000)
returns jsonb
language plpgsql set search_path = public, extensions set plan_cache_mode = 'force_custom_plan' set jit = 'off' as $$
declare
  caller   text  := current_user;
  found    jsonb := rowcall.context_v2(generation_id, attempt, question, query_embedding, embedding_model, max_chunks, 0, cache_scope, max_cached,
                                       opens, exact_up_to);
  g        rowcall.generations := rowcall.held_generation(generation_id, attempt);
  examples jsonb;
begin
  if max_examples = 0 then
    return found;
  end if;
  perform rowcall.become(g.user_id, g.claims);
  with nearest as materialized (
    select n.*, row_number() over (order by n.distance, n.id) as place, count(*) over (partition by n.answer) as alike
      from (select x.id, x.question, x.answer, x.embedding, x.embedding operator(extensions.<=>) query_embedding as distance from rowcall.examples x
             where x.kind = g.kind and x.embedding_model = context_v3.embedding_model and x.embedding is not null
             order by (x.embedding operator(extensions.<=>) query_embedding) + 0, x.id limit max_examples) n)
  select jsonb_agg(jsonb_build_object(
           'question', n.question, 'answer', n.answer, 'similarity', 1 - n.distance,
           'to_nearer', coalesce((
             select jsonb_agg(round((1 - (m.embedding operator(extensions.<=>) n.embedding))::numeric, 3) order by m.place)
               from nearest m where m.place < n.place and (m.place <= 12 or m.alike > 1)), '[]')) order by n.place)
    into examples from nearest n where n.place <= 12 or n.alike > 1;
  perform set_config('role', caller, true);
  return found || jsonb_build_object('examples', coalesce(examples, '[]'));
end $$;

revoke all on function
  rowcall.context_v3(uuid, integer, text, extensions.vector, text, integer, integer, text, integer, jsonb[], integer)
  from public, anon, authenticated, service_role;
grant execute on function
  rowcall.context_v3(uuid, integer, text, extensions.vector, text, integer, integer, text, integer, jsonb[], integer)
  to service_role;
