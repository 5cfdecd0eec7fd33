-- What a job reads, it reads as the row's owner, under the owner's own policies. INVOKER functions: a definer would skip row level security,
-- and Postgres refuses to change the role inside one.

create function rowcall.become(owner uuid, claims jsonb) returns void
language plpgsql set search_path = '' as $$
declare
  role_name text := case when owner is null then 'anon' else 'authenticated' end;
begin
  perform set_config('request.jwt.claims', (claims || jsonb_strip_nulls(jsonb_build_object('sub', owner, 'role', role_name)))::text, true);
  perform set_config('request.jwt.claim.sub', coalesce(owner::text, ''), true);   -- @supabase/lite's auth.uid() reads only this one
  perform set_config('request.jwt.claim.role', role_name, true);
  perform set_config('role', role_name, true);                                    -- set local role, with a variable
end $$;

-- The generation, if the attempt still holds it.
create function rowcall.held_generation(generation_id uuid, attempt integer) returns rowcall.generations
language plpgsql stable set search_path = '' as $$
declare
  g rowcall.generations;
begin
  select * into g from rowcall.generations t where t.id = generation_id and t.attempt = held_generation.attempt and t.status = 'running';
  if not found then
    raise sqlstate 'PT409' using message = format('attempt.lost: generation %s is not running attempt %s', generation_id, attempt);
  end if;
  return g;
end $$;

-- Everything that a prompt needs, in one call and one transaction; opens the ledger row of the model call that follows.
-- Two facts decide the shape (measured with 50,000 chunks of 100 tenants):
--   * HNSW finds neighbours before row level security filters them: an owner of 5 % of the chunks keeps 1.6 of 40 rows. Sorting what he may
--     see exactly costs 11 ms for 2,500 rows and misses nothing.
--   * `@@` is not leakproof, so under row level security GIN is never used; the policy's own index is, and `@@` filters what it yields.
-- So: few visible chunks → exact. Many → HNSW with iterative scan, and GIN candidates found as the caller, then filtered by the owner's
-- policies on the primary key.
-- search_path is PostgREST's own, not '': the project's policies may call helpers that name their tables without a schema.
-- plan_cache_mode: no generic plan survives from other settings. jit: a disabled scan type costs 1e10, which would start the compiler.
-- opens: [{"purpose", "provider", "model", "route", "reserved_usd"}], at most one; call_id is null where the tenant's budget forbids it.
create function rowcall.context_v1(
  generation_id uuid, attempt integer, question text, query_embedding extensions.vector, embedding_model text,
  max_chunks integer default 30, max_examples integer default 0, question_key text default null, opens jsonb[] default '{}',
  exact_up_to integer default 5000)
returns jsonb
language plpgsql set search_path = public, extensions set plan_cache_mode = 'force_custom_plan' set jit = 'off' as $$
declare
  caller      text    := current_user;
  g           rowcall.generations := rowcall.held_generation(generation_id, attempt);
  -- any of the words: a question's sentence rarely stands in a document whole
  words       tsquery := nullif(replace(plainto_tsquery('english'::regconfig, left(question, 4000))::text, ' & ', ' | '), '')::tsquery;
  wanted      jsonb   := g.input -> 'filter';
  cached      rowcall.answer_cache;   -- no record: that has no fields before the first assignment
  documents   uuid[];
  visible     integer;
  near_ids    bigint[];
  near        double precision[];
  word_ids    bigint[];
  word_ranks  real[];
  result      jsonb;
  may_reuse   boolean := false;
begin
  if question_key is not null and not g.input ? 'history' then
    select c.* into cached from rowcall.answer_cache c
     where c.tenant = g.tenant and c.question_key = context_v1.question_key and c.expires_at > now();
  end if;

  perform rowcall.become(g.user_id, g.claims);
  if wanted is not null then
    documents := array(select d.id from rowcall.documents d
      where (not wanted ? 'document_ids' or d.id = any (array(select e::uuid from jsonb_array_elements_text(wanted -> 'document_ids') e)))
        and (not wanted ? 'metadata' or d.metadata @> (wanted -> 'metadata')));
  end if;
  if cached.id is not null then   -- served only if the asker may read every chunk that was in its prompt
    may_reuse := cardinality(cached.chunk_ids) = (select count(*) from rowcall.chunks c where c.id = any (cached.chunk_ids));
  end if;
  visible := (select count(*) from (select from rowcall.chunks limit exact_up_to + 1) v);

  if visible <= exact_up_to then
    select array_agg(n.id order by n.distance, n.id), array_agg(n.distance order by n.distance, n.id) into near_ids, near from (
      select c.id, c.embedding operator(extensions.<=>) query_embedding as distance from rowcall.chunks c
       where c.embedding is not null and c.embedding_model = context_v1.embedding_model and (documents is null or c.document_id = any (documents))
       order by (c.embedding operator(extensions.<=>) query_embedding) + 0 limit max_chunks) n;   -- `+ 0`: not by HNSW
    select array_agg(w.id order by w.rank desc, w.id), array_agg(w.rank order by w.rank desc, w.id) into word_ids, word_ranks from (
      select c.id, ts_rank_cd(c.fts, words, 1) as rank from rowcall.chunks c
       where c.fts @@ words and (documents is null or c.document_id = any (documents))
       order by rank desc, c.id limit max_chunks) w;
  else
    perform set_config('hnsw.iterative_scan', 'relaxed_order', true), set_config('hnsw.ef_search', '200', true),
            set_config('hnsw.max_scan_tuples', '40000', true);
    select array_agg(n.id order by n.distance, n.id), array_agg(n.distance order by n.distance, n.id) into near_ids, near from (
      select c.id, c.embedding operator(extensions.<=>) query_embedding as distance from rowcall.chunks c
       where c.embedding_model = context_v1.embedding_model and (documents is null or c.document_id = any (documents))
       order by c.embedding operator(extensions.<=>) query_embedding limit max_chunks) n;
    perform set_config('role', caller, true);
    word_ids := array(select c.id from (select c.id, c.fts from rowcall.chunks c where c.fts @@ words limit 5000) c
                       order by ts_rank_cd(c.fts, words, 1) desc, c.id limit 2000);
    perform rowcall.become(g.user_id, g.claims);
    select array_agg(w.id order by w.rank desc, w.id), array_agg(w.rank order by w.rank desc, w.id) into word_ids, word_ranks from (
      select c.id, ts_rank_cd(c.fts, words, 1) as rank from rowcall.chunks c
       where c.id = any (word_ids) and (documents is null or c.document_id = any (documents))
       order by rank desc, c.id limit max_chunks) w;
  end if;

  result := jsonb_build_object(
    'ran_as', current_user,
    'exact', visible <= exact_up_to,
    'chunks', coalesce((
      select jsonb_agg(jsonb_build_object(
               'id', c.id, 'document_id', c.document_id, 'ordinal', c.ordinal, 'title', coalesce(d.title, c.metadata ->> 'title', d.source, ''), 'source', d.source,
               'heading_path', to_jsonb(c.heading_path), 'content', c.content, 'tokens', c.tokens, 'metadata', c.metadata,
               'similarity', 1 - near[array_position(near_ids, c.id)], 'vector_position', array_position(near_ids, c.id),
               'text_rank', word_ranks[array_position(word_ids, c.id)], 'text_position', array_position(word_ids, c.id))
             order by array_position(near_ids, c.id), array_position(word_ids, c.id))
        from rowcall.chunks c join rowcall.documents d on d.id = c.document_id   -- `= any` on the key is leakproof: by index
       where c.id = any (coalesce(near_ids, '{}') || coalesce(word_ids, '{}'))), '[]'),
    'examples', case when max_examples > 0 then coalesce((
      select jsonb_agg(jsonb_build_object('question', e.question, 'answer', e.answer, 'similarity', 1 - e.distance) order by e.distance)
        from (select x.question, x.answer, x.embedding operator(extensions.<=>) query_embedding as distance from rowcall.examples x
               where x.kind = g.kind and x.embedding_model = context_v1.embedding_model and x.embedding is not null
               order by (x.embedding operator(extensions.<=>) query_embedding) + 0 limit max_examples) e), '[]') else '[]' end,
    -- Chunks that this query cannot find, since their vectors are another model's.
    'other_model', exists (select from rowcall.chunks c where c.embedding_model is distinct from context_v1.embedding_model
                              and (documents is null or c.document_id = any (documents))),
    'cached', case when may_reuse then jsonb_build_object('answer', cached.answer, 'citations', cached.citations, 'created_at', cached.created_at) end);

  perform set_config('role', caller, true);   -- not `reset role`: that leads to the login role, which may do nothing, or everything
  if may_reuse then
    update rowcall.answer_cache c set hits = c.hits + 1 where c.id = cached.id;
  end if;
  if cardinality(opens) > 0 then
    result := result || jsonb_build_object('call_id', rowcall.open_call(g, g.attempt, opens[1]));
  end if;
  return result;
end $$;

-- The document of an ingest, read as its owner, and the chunks that it has: those need no embedding again.
create function rowcall.read_document_v1(generation_id uuid, attempt integer) returns jsonb
language plpgsql set search_path = public, extensions as $$
declare
  caller text := current_user;
  g      rowcall.generations := rowcall.held_generation(generation_id, attempt);
  result jsonb;
begin
  perform rowcall.become(g.user_id, g.claims);
  select jsonb_build_object(
           'id', d.id, 'title', d.title, 'source', d.source, 'media_type', d.media_type, 'content', d.content, 'metadata', d.metadata,
           'revision', d.revision,
           'chunks', coalesce((select jsonb_agg(jsonb_build_object('content_hash', c.content_hash, 'occurrence', c.occurrence,
                                                                   'embedding_model', c.embedding_model))
                                 from rowcall.chunks c where c.document_id = d.id), '[]'))
    into result
    from rowcall.documents d where d.id = (g.input ->> 'document_id')::uuid;
  perform set_config('role', caller, true);
  return result;   -- null: deleted, or not the owner's to read
end $$;

-- Writes a page of chunks, in any order; a page may be written again. A chunk without an embedding keeps the one that it has.
-- The last page says so: chunks that no page of this revision named are deleted, and the document counts as ingested.
-- chunks: [{"ordinal", "content", "heading_path", "start_char", "end_char", "tokens", "metadata", "content_hash", "occurrence", "embedding"}]
create function rowcall.store_chunks_v1(generation_id uuid, attempt integer, revision integer, embedding_model text, chunks jsonb[], is_last boolean)
returns integer
language plpgsql set search_path = '' set statement_timeout = '60s' as $$
declare
  g      rowcall.generations := rowcall.held_generation(generation_id, attempt);
  doc_id uuid := (g.input ->> 'document_id')::uuid;
  bare   integer;
  total  integer;
begin
  perform from rowcall.documents d where d.id = doc_id and d.revision = store_chunks_v1.revision for no key update;
  if not found then   -- changed or deleted meanwhile: the generation that the change made will do it
    raise sqlstate 'PT409' using message = format('document.superseded: document %s is not at revision %s', doc_id, revision);
  end if;
  insert into rowcall.chunks as k (document_id, revision, ordinal, content, heading_path, start_char, end_char, tokens, metadata, content_hash,
                                   occurrence, embedding, embedding_model)
  select doc_id, store_chunks_v1.revision, c.ordinal, c.content, c.heading_path, c.start_char, c.end_char, c.tokens, coalesce(c.metadata, '{}'),
         c.content_hash, c.occurrence, c.embedding::extensions.vector, case when c.embedding is not null then store_chunks_v1.embedding_model end
    from unnest(chunks) e, jsonb_to_record(e) c (ordinal integer, content text, heading_path text[], start_char integer, end_char integer,
         tokens integer, metadata jsonb, content_hash text, occurrence integer, embedding text)
  on conflict on constraint chunks_identity do update
     set revision = excluded.revision, ordinal = excluded.ordinal, heading_path = excluded.heading_path, start_char = excluded.start_char,
         end_char = excluded.end_char, metadata = excluded.metadata, embedding = coalesce(excluded.embedding, k.embedding),
         embedding_model = coalesce(excluded.embedding_model, k.embedding_model);
  if not is_last then return null; end if;

  delete from rowcall.chunks c where c.document_id = doc_id and c.revision <> store_chunks_v1.revision;
  select count(*), count(*) filter (where c.embedding is null or c.embedding_model is distinct from store_chunks_v1.embedding_model)
    into total, bare from rowcall.chunks c where c.document_id = doc_id;
  if bare > 0 then
    raise sqlstate 'PT409' using message = format('document.incomplete: %s chunks of document %s have no embedding of model %s', bare, doc_id, embedding_model);
  end if;
  update rowcall.documents d set ingested_revision = store_chunks_v1.revision, ingested_at = now(), chunk_count = total where d.id = doc_id;
  return total;
end $$;

revoke all on function rowcall.become(uuid, jsonb), rowcall.held_generation(uuid, integer),
  rowcall.context_v1(uuid, integer, text, extensions.vector, text, integer, integer, text, jsonb[], integer),
  rowcall.read_document_v1(uuid, integer), rowcall.store_chunks_v1(uuid, integer, integer, text, jsonb[], boolean)
  from public, anon, authenticated, service_role;
grant execute on function rowcall.become(uuid, jsonb), rowcall.held_generation(uuid, integer),
  rowcall.context_v1(uuid, integer, text, extensions.vector, text, integer, integer, text, jsonb[], integer),
  rowcall.read_document_v1(uuid, integer), rowcall.store_chunks_v1(uuid, integer, integer, text, jsonb[], boolean)
  to service_role;
