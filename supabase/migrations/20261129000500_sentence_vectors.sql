-- Vectors of a chunk's sentences, made when it is ingested, where `[embedding] sentences` asks for them: compression then knows how near each
-- sentence is to a question, and nothing but the question is embedded when it is asked. docs/log.md says what they are worth.

-- Of the chunk's units (jobs/decisions/units.py), in their order, by the model of its embedding; null: none were made. Half precision: the context
-- call takes their cosines itself, so none of them leaves the database.
alter table rowcall.chunks add column unit_embeddings extensions.halfvec(384)[];

-- As before; of each chunk also whether its sentences are embedded.
create or replace function rowcall.read_document_v1(generation_id uuid, attempt integer) returns jsonb
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
                                                                   'embedding_model', c.embedding_model,
                                                                   'has_units', c.unit_embeddings is not null))
                                 from rowcall.chunks c where c.document_id = d.id), '[]'))
    into result
    from rowcall.documents d where d.id = (g.input ->> 'document_id')::uuid;
  perform set_config('role', caller, true);
  return result;   -- null: deleted, or not the owner's to read
end $$;

-- As before; a chunk with an embedding may hold "unit_embeddings" beside it, and without them has none afterwards: they are the same model's.
create or replace function rowcall.store_chunks_v1(generation_id uuid, attempt integer, revision integer, embedding_model text, chunks jsonb[],
                                                   is_last boolean)
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
                                   occurrence, embedding, embedding_model, unit_embeddings)
  select doc_id, store_chunks_v1.revision, c.ordinal, c.content, c.heading_path, c.start_char, c.end_char, c.tokens, coalesce(c.metadata, '{}'),
         c.content_hash, c.occurrence, c.embedding::extensions.vector, case when c.embedding is not null then store_chunks_v1.embedding_model end,
         c.unit_embeddings::extensions.halfvec(384)[]
    from unnest(chunks) e, jsonb_to_record(e) c (ordinal integer, content text, heading_path text[], start_char integer, end_char integer,
         tokens integer, metadata jsonb, content_hash text, occurrence integer, embedding text, unit_embeddings text[])
  on conflict on constraint chunks_identity do update
     set revision = excluded.revision, ordinal = excluded.ordinal, heading_path = excluded.heading_path, start_char = excluded.start_char,
         end_char = excluded.end_char, metadata = excluded.metadata, embedding = coalesce(excluded.embedding, k.embedding),
         embedding_model = coalesce(excluded.embedding_model, k.embedding_model),
         unit_embeddings = case when excluded.embedding is null then k.unit_embeddings else excluded.unit_embeddings end;
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

-- The operator's, as version 1; where sentences are wanted, also the documents with a chunk that has none of theirs.
create function rowcall.reembed_documents_v2(embedding_model text, with_units boolean, after uuid, max_rows integer)
returns table (id uuid, source text, generation_id uuid)
language sql set search_path = '' set statement_timeout = '60s' as $$
  select * from rowcall.ingest_anew(array(
    select d.id from rowcall.documents d
     where d.id > after and exists (select from rowcall.chunks c where c.document_id = d.id
                                       and (c.embedding_model is distinct from reembed_documents_v2.embedding_model
                                            or with_units and c.unit_embeddings is null))
     order by d.id limit max_rows))
$$;

create function rowcall.documents_to_reembed_v2(embedding_model text, with_units boolean) returns bigint
language sql stable set search_path = '' set statement_timeout = '60s' as $$
  select count(distinct c.document_id) from rowcall.chunks c
   where c.embedding_model is distinct from documents_to_reembed_v2.embedding_model or with_units and c.unit_embeddings is null
$$;

drop function rowcall.reembed_documents_v1(text, uuid, integer);
drop function rowcall.documents_to_reembed_v1(text);
revoke all on function rowcall.reembed_documents_v2(text, boolean, uuid, integer), rowcall.documents_to_reembed_v2(text, boolean)
  from public, anon, authenticated, service_role;
grant execute on function rowcall.reembed_documents_v2(text, boolean, uuid, integer), rowcall.documents_to_reembed_v2(text, boolean)
  to service_role;
