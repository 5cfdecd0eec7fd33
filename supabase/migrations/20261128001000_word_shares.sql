-- How common the words of a question are, as Postgres' own statistics of all chunks know it. BM25 wants that of a whole collection: candidates that
-- were found by these words do not show it. nDCG@10 on Cranfield and CISI by the candidates' frequencies .387 and .402, by these .404 and .398.
-- The statistics list words of about 1 % of the chunks or more, so nobody learns that a rare word stands in somebody else's document.

-- {lexeme: share of all chunks, above 0}; half of the least listed share where a lexeme is not listed; empty before the first analyze.
-- Called as the worker: the statistics of a table are not shown to whom its policies bind.
create function rowcall.lexeme_shares(lexemes text[]) returns jsonb
language sql stable set search_path = '' as $$
  with statistic as materialized (
    select s.most_common_elems::text::text[] as elements, s.most_common_elem_freqs as shares
      from pg_catalog.pg_stats s
     where s.schemaname = 'rowcall' and s.tablename = 'chunks' and s.attname = 'fts' and s.most_common_elems is not null),
  listed as materialized (select e.* from statistic s, unnest(s.elements, s.shares) e (lexeme, share) where e.lexeme is not null)
  select coalesce(jsonb_object_agg(x.lexeme, coalesce(l.share, (select min(m.share) from listed m) / 2)), '{}')
    from unnest(lexemes) x (lexeme) left join listed l using (lexeme) where exists (select from statistic)
$$;

-- Any of the lexemes: a question's sentence rarely stands in a document whole. Those in more than a fifth of all chunks find nothing that the rarer
-- ones do not, so they are left out where two are left. Null: there is no lexeme.
create function rowcall.any_of(lexemes text[], shares jsonb) returns tsquery
language sql immutable set search_path = '' as $$
  with rare as materialized (select l from unnest(lexemes) l where coalesce((shares ->> l)::float8, 0) <= 0.2)
  select string_agg('''' || replace(replace(l, '\', '\\'), '''', '''''') || '''', ' | ')::tsquery
    from unnest(case when (select count(*) from rare) >= 2 then array(select l from rare) else lexemes end) l
$$;

-- {word of the question, as it is written: the share of its lexeme}; without words that have none ("the").
create function rowcall.word_shares(question text, shares jsonb) returns jsonb
language sql immutable set search_path = '' as $$
  select coalesce(jsonb_object_agg(w.word, w.share), '{}') from (
    select t.token as word, min((shares ->> l)::float8) as share
      from (select distinct p.token from pg_catalog.ts_parse('default', question) p) t,
           unnest(tsvector_to_array(to_tsvector('english'::regconfig, t.token))) l
     where shares ? l group by t.token) w
$$;

-- As before, with word_shares, and with the similarity of a chunk that only its words found.
create or replace function rowcall.context_v1(
  generation_id uuid, attempt integer, question text, query_embedding extensions.vector, embedding_model text,
  max_chunks integer default 30, max_examples integer default 0, question_key text default null, opens jsonb[] default '{}',
  exact_up_to integer default 5000)
returns jsonb
language plpgsql set search_path = public, extensions set plan_cache_mode = 'force_custom_plan' set jit = 'off' as $$
declare
  caller      text    := current_user;
  g           rowcall.generations := rowcall.held_generation(generation_id, attempt);
  lexemes     text[]  := tsvector_to_array(to_tsvector('english'::regconfig, left(question, 4000)));
  shares      jsonb   := rowcall.lexeme_shares(lexemes);
  by_word     jsonb   := rowcall.word_shares(left(question, 4000), shares);
  words       tsquery := rowcall.any_of(lexemes, shares);
  wanted      jsonb   := g.input -> 'filter';
  cached      rowcall.answer_cache;   -- no record: that has no fields before the first assignment
  documents   uuid[];
  visible     integer;
  near_ids    bigint[];
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
    select array_agg(n.id order by n.distance, n.id) into near_ids from (
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
    select array_agg(n.id order by n.distance, n.id) into near_ids from (
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
    'word_shares', by_word,
    'chunks', coalesce((
      select jsonb_agg(jsonb_build_object(
               'id', c.id, 'document_id', c.document_id, 'ordinal', c.ordinal, 'title', coalesce(d.title, c.metadata ->> 'title', d.source, ''), 'source', d.source,
               'heading_path', to_jsonb(c.heading_path), 'content', c.content, 'tokens', c.tokens, 'metadata', c.metadata,
               'vector_position', array_position(near_ids, c.id),
               'similarity', case when c.embedding_model = context_v1.embedding_model then 1 - (c.embedding operator(extensions.<=>) query_embedding) end,
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

revoke all on function rowcall.lexeme_shares(text[]), rowcall.any_of(text[], jsonb), rowcall.word_shares(text, jsonb)
  from public, anon, authenticated, service_role;
grant execute on function rowcall.lexeme_shares(text[]), rowcall.any_of(text[], jsonb), rowcall.word_shares(text, jsonb) to service_role;
