-- What `rowcall ingest` asks before it sends a file: is it there already, and what became of it. And documents that are ingested again
-- although they did not change: an ingest that failed, vectors of another embedding model.

-- The caller's own documents of those sources. content_sha256 is over UTF-8, in hex; status and error are the latest ingest's.
create function rowcall.known_documents(sources text[])
returns table (id uuid, source text, media_type text, content_sha256 text, is_ingested boolean, chunks integer, generation_id uuid,
               status text, error jsonb)
language sql stable set search_path = '' as $$
  select d.id, d.source, d.media_type, encode(sha256(convert_to(d.content, 'UTF8')), 'hex'),
         d.ingested_revision is not distinct from d.revision, d.chunk_count, d.generation_id, g.status, g.error
    from rowcall.documents d left join rowcall.generations g on g.id = d.generation_id
   where d.source = any (sources) and d.user_id is not distinct from auth.uid()
$$;

-- A new ingest of each document; one whose ingest has not ended keeps that. The documents are locked in one order, as an update locks them.
create function rowcall.ingest_anew(documents uuid[]) returns table (id uuid, source text, generation_id uuid)
language plpgsql security definer set search_path = '' as $$
begin
  perform from rowcall.documents d where d.id = any (documents) order by d.id for no key update;
  with made as (
    insert into rowcall.generations (user_id, tenant, origin, kind, input)
    select d.user_id, d.tenant, 'document', 'ingest', jsonb_build_object('document_id', d.id)
      from rowcall.documents d
     where d.id = any (documents)
       and not exists (select from rowcall.generations g where g.id = d.generation_id and g.status in ('queued', 'running'))
     order by d.id
    returning generations.id, (generations.input ->> 'document_id')::uuid as document_id)
  update rowcall.documents d set generation_id = made.id from made where d.id = made.document_id;
  return query select d.id, d.source, d.generation_id from rowcall.documents d where d.id = any (documents) order by d.id;
end $$;

-- The owner's way: of the documents named, the caller's own.
create function rowcall.ingest_again(documents uuid[]) returns table (id uuid, source text, generation_id uuid)
language sql security definer set search_path = '' as $$
  select * from rowcall.ingest_anew(array(
    select d.id from rowcall.documents d where d.id = any (documents) and d.user_id = auth.uid()))
$$;

-- The operator's: documents with a chunk that the model of questions cannot find. Pages by the document's id, so that one whose ingest fails
-- is asked once.
create function rowcall.reembed_documents_v1(embedding_model text, after uuid, max_rows integer)
returns table (id uuid, source text, generation_id uuid)
language sql set search_path = '' set statement_timeout = '60s' as $$
  select * from rowcall.ingest_anew(array(
    select d.id from rowcall.documents d
     where d.id > after and exists (select from rowcall.chunks c where c.document_id = d.id
                                       and c.embedding_model is distinct from reembed_documents_v1.embedding_model)
     order by d.id limit max_rows))
$$;

create function rowcall.documents_to_reembed_v1(embedding_model text) returns bigint
language sql stable set search_path = '' set statement_timeout = '60s' as $$
  select count(distinct c.document_id) from rowcall.chunks c
   where c.embedding_model is distinct from documents_to_reembed_v1.embedding_model
$$;

revoke all on function rowcall.known_documents(text[]), rowcall.ingest_anew(uuid[]), rowcall.ingest_again(uuid[]),
  rowcall.reembed_documents_v1(text, uuid, integer), rowcall.documents_to_reembed_v1(text)
  from public, anon, authenticated, service_role;
grant execute on function rowcall.known_documents(text[]) to authenticated, service_role;
grant execute on function rowcall.ingest_again(uuid[]) to authenticated;
grant execute on function rowcall.ingest_anew(uuid[]), rowcall.reembed_documents_v1(text, uuid, integer),
  rowcall.documents_to_reembed_v1(text) to service_role;
