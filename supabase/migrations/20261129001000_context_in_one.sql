-- The context call as one function. It had grown by wrapping: version 3 called 2, which called 1; each looked the generation up and changed the
-- role again, and the first one's own cache and examples answered nobody any more.

-- The kept answers to the nearest questions of the same tenant and scope: stale ones too, but none that somebody rated -1, there or where it was
-- given again. None for a question with history: its words do not say what is asked.
-- Called as the worker: no policy shows the cache to anybody. Whether its asker may read what an answer was made from is not decided here.
create function rowcall.cached_near(g rowcall.generations, scope text, query_embedding extensions.vector, embedding_model text)
returns rowcall.answer_cache[]
language sql stable set search_path = '' as $$
  select array(
    select n.entry from (
      select a as entry from rowcall.answer_cache a
       where a.tenant = g.tenant and not g.input ? 'history' and a.scope = cached_near.scope
         and a.embedding_model = cached_near.embedding_model and a.expires_at > now()
       order by (a.embedding operator(extensions.<=>) query_embedding) + 0 limit 20) n
     where not exists (select from rowcall.feedback f where f.generation_id = (n.entry).generation_id and f.rating < 0)
       and not exists (select from rowcall.calls k join rowcall.feedback f using (generation_id)
                        where k.reused_id = (n.entry).id and k.created_at >= (n.entry).created_at and f.rating < 0))
$$;

-- As the worker is told of them: the four nearest, nearest first. Whether one fits the question is decided there (jobs/decisions/caching.py).
-- is_private: made with examples of somebody else, so only for one whose prompt would hold the same.
create function rowcall.offered_answers(entries rowcall.answer_cache[], asker uuid, query_embedding extensions.vector) returns jsonb
language sql stable set search_path = '' as $$
  select coalesce(jsonb_agg(jsonb_build_object(
           'id', n.id, 'question_key', n.question_key, 'question', n.question, 'answer', n.answer, 'citations', n.citations,
           'chunk_ids', n.chunk_ids, 'seen_chunk_ids', n.seen_chunk_ids, 'tokens_in', n.tokens_in, 'tokens_out', n.tokens_out,
           'cost_usd', n.cost_usd, 'age_s', extract(epoch from now() - n.created_at)::float8, 'is_fresh', n.fresh_until > now(),
           'is_private', n.had_examples and n.user_id is distinct from asker, 'similarity', n.similarity) order by n.similarity desc), '[]')
    from (select e.*, 1 - (e.embedding operator(extensions.<=>) query_embedding) as similarity from unnest(entries) e
           order by similarity desc limit 4) n
$$;

-- As the worker is told of them: nearest first, each with "to_nearer", the cosines of its question with those of the examples before it.
-- Beyond the 12 nearest only those whose answer another of them has: texts of few answers are short, and others have no use for so many.
create function rowcall.offered_examples(examples rowcall.examples[], query_embedding extensions.vector) returns jsonb
language sql stable set search_path = '' as $$
  with nearest as materialized (
    select x.*, row_number() over (order by x.distance, x.id) as place, count(*) over (partition by x.answer) as alike
      from (select e.*, e.embedding operator(extensions.<=>) query_embedding as distance from unnest(examples) e) x)
  select coalesce(jsonb_agg(jsonb_build_object(
           'question', n.question, 'answer', n.answer, 'similarity', 1 - n.distance,
           'to_nearer', coalesce((
             select jsonb_agg(round((1 - (m.embedding operator(extensions.<=>) n.embedding))::numeric, 3) order by m.place)
               from nearest m where m.place < n.place and (m.place <= 12 or m.alike > 1)), '[]')) order by n.place), '[]')
    from nearest n where n.place <= 12 or n.alike > 1
$$;

-- Whether any chunk at all has no vector of this model: three looks into an index, where the owner's policies would be asked for each chunk.
-- Called as the worker, who then asks what the owner may see of them.
create function rowcall.has_other_models(embedding_model text) returns boolean
language sql stable set search_path = '' as $$
  select exists (select from rowcall.chunks c where c.embedding_model < has_other_models.embedding_model)
      or exists (select from rowcall.chunks c where c.embedding_model > has_other_models.embedding_model)
      or exists (select from rowcall.chunks c where c.embedding_model is null)
$$;

-- Everything that a prompt needs, in one call and one transaction; opens the ledger row of the model call that follows.
-- Answers {"chunks", "examples", "cached", "word_shares", "other_model", "call_id"}.
--
-- Between `become` and the caller's role stands what the owner's own policies decide: chunks, examples, and whether he may read every chunk that
-- a kept answer was made from, each in its document's present revision. (A document that changed is served from again when its ingest has
-- confirmed the chunk; a chunk that changed has another id.) No function of ours can be called there: the owner may not.
--
-- Two facts decide how chunks are searched (measured with 50,000 of 100 tenants):
--   * HNSW finds neighbours before row level security filters them: an owner of 5 % of the chunks keeps 1.6 of 40 rows. Sorting what he may
--     see exactly costs 11 ms for 2,500 rows and misses nothing.
--   * `@@` is not leakproof, so under row level security GIN is never used; the policy's own index is, and `@@` filters what it yields.
-- So: few chunks to search, those that are visible and pass the filter → exact. Many → HNSW with iterative scan, and candidates by words found as the worker, by GIN, of which the owner's
-- policies keep what he may see, by the primary key.
--
-- search_path is PostgREST's own, not '': the project's policies may call helpers that name their tables without a schema.
create function rowcall.context_v4(
  generation_id uuid, attempt integer, question text, query_embedding extensions.vector, embedding_model text,
  max_chunks integer default 30, max_examples integer default 0, cache_scope text default null, opens jsonb[] default '{}',
  exact_up_to integer default 5000)
returns jsonb
language plpgsql set search_path = public, extensions set plan_cache_mode = 'force_custom_plan' set jit = 'off' as $$
declare
  caller     text    := current_user;
  g          rowcall.generations := rowcall.held_generation(generation_id, attempt);
  asked      text    := left(question, 4000);
  lexemes    text[]  := tsvector_to_array(to_tsvector('english'::regconfig, asked));
  shares     jsonb   := rowcall.lexeme_shares(lexemes);
  words      tsquery := rowcall.any_of(lexemes, shares);
  wanted     jsonb   := g.input -> 'filter';
  has_others boolean := rowcall.has_other_models(embedding_model);
  cached     rowcall.answer_cache[] := '{}';
  examples   rowcall.examples[]     := '{}';
  documents  uuid[];     -- null: any
  likely     bigint[];   -- null: any
  near_ids   bigint[];
  word_ids   bigint[];
  word_ranks real[];
  result     jsonb;
begin
  if cache_scope is not null then
    cached := rowcall.cached_near(g, cache_scope, query_embedding, embedding_model);
  end if;

  perform rowcall.become(g.user_id, g.claims);
  if wanted is not null then
    documents := array(select d.id from rowcall.documents d
      where (not wanted ? 'document_ids' or d.id = any (array(select e::uuid from jsonb_array_elements_text(wanted -> 'document_ids') e)))
        and (not wanted ? 'metadata' or d.metadata @> (wanted -> 'metadata')));
  end if;

  if exact_up_to >= (select count(*) from (select from rowcall.chunks c
                                            where documents is null or c.document_id = any (documents) limit exact_up_to + 1) searched) then
    near_ids := array(
      select c.id from rowcall.chunks c
       where c.embedding is not null and c.embedding_model = context_v4.embedding_model and (documents is null or c.document_id = any (documents))
       order by (c.embedding operator(extensions.<=>) query_embedding) + 0, c.id limit max_chunks);   -- `+ 0`: not by HNSW
  else
    perform set_config('hnsw.iterative_scan', 'relaxed_order', true), set_config('hnsw.ef_search', '200', true),
            set_config('hnsw.max_scan_tuples', '40000', true);
    near_ids := array(
      select n.id from (
        select c.id, c.embedding operator(extensions.<=>) query_embedding as distance from rowcall.chunks c
         where c.embedding_model = context_v4.embedding_model and (documents is null or c.document_id = any (documents))
         order by c.embedding operator(extensions.<=>) query_embedding limit max_chunks) n
       order by n.distance, n.id);   -- the order of HNSW is a relaxed one
    perform set_config('role', caller, true);
    likely := array(select c.id from (select c.id, c.fts from rowcall.chunks c where c.fts @@ words limit 5000) c
                     order by ts_rank(c.fts, words, 1) desc, c.id limit 2000);   -- roughly, at half the time of ts_rank_cd
    perform rowcall.become(g.user_id, g.claims);
  end if;

  select array_agg(w.id order by w.rank desc, w.id), array_agg(w.rank order by w.rank desc, w.id) into word_ids, word_ranks from (
    select c.id, ts_rank_cd(c.fts, words, 1) as rank from rowcall.chunks c
     where case when likely is null then c.fts @@ words else c.id = any (likely) end and (documents is null or c.document_id = any (documents))
     order by rank desc, c.id limit max_chunks) w;

  result := jsonb_build_object(
    'chunks', coalesce((
      select jsonb_agg(jsonb_build_object(
               'id', c.id, 'document_id', c.document_id, 'ordinal', c.ordinal, 'title', coalesce(d.title, c.metadata ->> 'title', d.source, ''), 'source', d.source,
               'heading_path', to_jsonb(c.heading_path), 'content', c.content, 'tokens', c.tokens, 'metadata', c.metadata,
               'vector_position', array_position(near_ids, c.id),
               'similarity', case when c.embedding_model = context_v4.embedding_model then 1 - (c.embedding operator(extensions.<=>) query_embedding) end,
               'text_rank', word_ranks[array_position(word_ids, c.id)], 'text_position', array_position(word_ids, c.id),
               'unit_similarities', case when c.embedding_model = context_v4.embedding_model then array(
                 select round((1 - (u.vector operator(extensions.<=>) query_embedding::extensions.halfvec))::numeric, 3)
                   from unnest(c.unit_embeddings) with ordinality u (vector, place) order by u.place) else '{}' end)
             order by array_position(near_ids, c.id), array_position(word_ids, c.id))
        from rowcall.chunks c join rowcall.documents d on d.id = c.document_id   -- `= any` on the key is leakproof: by index
       where c.id = any (near_ids || word_ids)), '[]'),
    -- Chunks that this query cannot find, since their vectors are another model's.
    'other_model', has_others and exists (select from rowcall.chunks c where c.embedding_model is distinct from context_v4.embedding_model
                              and (documents is null or c.document_id = any (documents))));
  if max_examples > 0 then
    examples := array(
      select x from rowcall.examples x
       where x.kind = g.kind and x.embedding_model = context_v4.embedding_model and x.embedding is not null
       order by (x.embedding operator(extensions.<=>) query_embedding) + 0, x.id limit max_examples);
  end if;
  if cardinality(cached) > 0 then
    cached := array(
      select n from unnest(cached) n
       where cardinality(n.chunk_ids) > 0 and cardinality(n.chunk_ids) = (
               select count(*) from rowcall.chunks c join rowcall.documents d on d.id = c.document_id and d.revision = c.revision
                where c.id = any (n.chunk_ids)));
  end if;

  perform set_config('role', caller, true);   -- not `reset role`: that leads to the login role, which may do nothing, or everything
  return result || jsonb_build_object(
    'examples', rowcall.offered_examples(examples, query_embedding),
    'cached', rowcall.offered_answers(cached, g.user_id, query_embedding),
    'word_shares', rowcall.word_shares(asked, shares),
    'call_id', case when cardinality(opens) > 0 then rowcall.open_call(g, g.attempt, opens[1]) end);
end $$;

-- As before, by context_v4. Answers {"cached": as context_v4's, or null, "problem": why not}.
create or replace function rowcall.drill_cached_answer_v1() returns jsonb
language plpgsql set search_path = '' as $$
declare
  drill   constant text := 'rowcall fallback-drill';
  vector  constant extensions.vector := array_fill(0.05::real, array[384])::extensions.vector;
  passage record;
  mine    uuid;    -- a question of the owner's
  other   uuid;    -- and one of somebody who may not read the passage
  offered jsonb;
  leaked  jsonb;
  problem text;
begin
  select c.id, d.user_id, d.tenant into passage
    from rowcall.documents d join rowcall.chunks c on c.document_id = d.id and c.revision = d.revision
   where d.user_id is not null and d.tenant is not null limit 1;
  if not found then
    return '{"cached": null, "problem": "no document is ingested: there is nothing that an answer could be made from"}';
  end if;
  begin
    insert into rowcall.answer_cache (tenant, scope, question_key, question, embedding, embedding_model, answer, chunk_ids, seen_chunk_ids, user_id,
                                      fresh_until, expires_at)
    values (passage.tenant, drill, drill, 'Are you there?', vector, drill, 'Yes.', array[passage.id], array[passage.id], passage.user_id,
            now(), now() + interval '1 minute');
    insert into rowcall.generations (user_id, tenant, kind, input, status, attempt)
    values (passage.user_id, passage.tenant, 'answer', '{"question": "Are you there?"}', 'running', 1) returning id into mine;
    insert into rowcall.generations (user_id, tenant, kind, input, status, attempt)
    values (null, passage.tenant, 'answer', '{"question": "Are you there?"}', 'running', 1) returning id into other;
    offered := rowcall.context_v4(mine, 1, '', vector, drill, 1, 0, drill) #> '{cached,0}';
    leaked  := rowcall.context_v4(other, 1, '', vector, drill, 1, 0, drill) #> '{cached,0}';
    raise exception using errcode = 'RCUND', message = 'undone';
  exception
    when sqlstate 'RCUND' then
      problem := case when leaked is not null then 'the entry was offered to one who may not read its passage'
                      when offered is null then 'its owner was not offered the entry' end;
    when others then
      problem := format('%s (%s)', sqlerrm, sqlstate);
  end;
  return jsonb_build_object('cached', case when problem is null then offered end, 'problem', problem);
end $$;

drop function rowcall.context_v3(uuid, integer, text, extensions.vector, text, integer, integer, text, integer, jsonb[], integer);
drop function rowcall.context_v2(uuid, integer, text, extensions.vector, text, integer, integer, text, integer, jsonb[], integer);
drop function rowcall.context_v1(uuid, integer, text, extensions.vector, text, integer, integer, text, jsonb[], integer);
alter table rowcall.answer_cache drop column hits;   -- rowcall.calls.reused_id says which calls an entry has spared

revoke all on function rowcall.has_other_models(text), rowcall.cached_near(rowcall.generations, text, extensions.vector, text),
  rowcall.offered_answers(rowcall.answer_cache[], uuid, extensions.vector), rowcall.offered_examples(rowcall.examples[], extensions.vector),
  rowcall.context_v4(uuid, integer, text, extensions.vector, text, integer, integer, text, jsonb[], integer)
  from public, anon, authenticated, service_role;
grant execute on function rowcall.has_other_models(text), rowcall.cached_near(rowcall.generations, text, extensions.vector, text),
  rowcall.offered_answers(rowcall.answer_cache[], uuid, extensions.vector), rowcall.offered_examples(rowcall.examples[], extensions.vector),
  rowcall.context_v4(uuid, integer, text, extensions.vector, text, integer, integer, text, jsonb[], integer)
  to service_role;
