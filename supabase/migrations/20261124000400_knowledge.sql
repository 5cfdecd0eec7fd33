-- What answers are made from: documents and their chunks, examples, cached answers; and what users say of answers.
-- Who may see a document decides who may see its chunks and examples: to share documents with a team, add one policy to rowcall.documents.

create table rowcall.documents (
  id                uuid        not null default gen_random_uuid() constraint documents_pkey primary key,
  user_id           uuid        constraint documents_user_id_fkey references auth.users (id) on delete cascade,
  tenant            text,
  title             text        constraint documents_title_check check (length(title) <= 500),
  source            text        constraint documents_source_check check (length(source) between 1 and 2000),   -- a URL or a path: what a citation shows
  media_type        text        not null default 'text/markdown' constraint documents_media_type_check
                                check (media_type in ('text/markdown', 'text/html', 'text/plain', 'application/pdf')),
  content           text        not null,             -- application/pdf: base64
  metadata          jsonb       not null default '{}' constraint documents_metadata_check check (jsonb_typeof(metadata) = 'object'),
  revision          integer     not null default 1,   -- counts changes of what is ingested
  -- Written by the ingest job.
  generation_id     uuid,                             -- the latest generation of kind ingest: its status is the document's
  ingested_revision integer,
  ingested_at       timestamptz,
  chunk_count       integer,
  created_at        timestamptz not null default now(),
  updated_at        timestamptz not null default now(),
  constraint documents_source unique (user_id, source)
);
create index documents_tenant on rowcall.documents (tenant);
alter table rowcall.documents enable row level security;
revoke all on table rowcall.documents from public, anon, authenticated, service_role;
grant select on table rowcall.documents to anon, authenticated;   -- anon: no policy, so no rows; without the grant an ownerless generation's context fails
grant insert (title, source, media_type, content, metadata), update (title, source, media_type, content, metadata), delete
  on table rowcall.documents to authenticated;
grant select, insert, update, delete on table rowcall.documents to service_role;
create policy "own documents: read"   on rowcall.documents for select to authenticated using (user_id = (select auth.uid()));
create policy "own documents: insert" on rowcall.documents for insert to authenticated with check (user_id = (select auth.uid()));
create policy "own documents: update" on rowcall.documents for update to authenticated
  using (user_id = (select auth.uid())) with check (user_id = (select auth.uid()));
create policy "own documents: delete" on rowcall.documents for delete to authenticated using (user_id = (select auth.uid()));

-- array_to_string is only stable for arrays in general; for text it does not depend on settings, as a generated column requires.
create function rowcall.heading_text(heading_path text[]) returns text
language sql immutable parallel safe set search_path = '' as $$ select array_to_string(heading_path, ' ') $$;

create table rowcall.chunks (
  id              bigint  not null generated always as identity constraint chunks_pkey primary key,
  document_id     uuid    not null constraint chunks_document_id_fkey references rowcall.documents (id) on delete cascade,
  revision        integer not null,     -- of the document when the chunk was last confirmed
  ordinal         integer not null,     -- its place in the document, from 0
  content         text    not null,
  heading_path    text[]  not null default '{}',
  start_char      integer not null,     -- where it stands in the document's Markdown
  end_char        integer not null,
  tokens          integer not null,     -- o200k_base
  metadata        jsonb   not null default '{}',
  -- An unchanged chunk keeps its id and its embedding: the hash is over all that is embedded; equal chunks of one document are counted.
  content_hash    text    not null,
  occurrence      integer not null default 0,
  embedding       extensions.vector(384),
  embedding_model text,
  fts             tsvector not null generated always as (
                    setweight(to_tsvector('english'::regconfig, rowcall.heading_text(heading_path)), 'A') ||
                    setweight(to_tsvector('english'::regconfig, content), 'B')) stored,
  constraint chunks_identity unique (document_id, content_hash, occurrence)
);
-- Inline: vectors of 1.5 kB beside text go to TOAST otherwise, and an exact search then costs twice as much.
alter table rowcall.chunks alter column embedding set storage plain;
create index chunks_fts       on rowcall.chunks using gin (fts);
create index chunks_embedding on rowcall.chunks using hnsw (embedding extensions.vector_cosine_ops);
alter table rowcall.chunks enable row level security;
revoke all on table rowcall.chunks from public, anon, authenticated, service_role;
grant select on table rowcall.chunks to anon, authenticated;
grant select, insert, update, delete on table rowcall.chunks to service_role;
-- `= any (array(select …))` is an init plan and an index condition; `in (select …)` would be a filter on every row.
create policy "chunks of readable documents" on rowcall.chunks for select to anon, authenticated
  using (document_id = any (array(select d.id from rowcall.documents d)));

create table rowcall.examples (
  id              bigint      not null generated always as identity constraint examples_pkey primary key,
  user_id         uuid        constraint examples_user_id_fkey references auth.users (id) on delete cascade,
  document_id     uuid        constraint examples_document_id_fkey references rowcall.documents (id) on delete cascade,
  kind            text        not null default 'answer' constraint examples_kind_fkey references rowcall.kinds (kind),
  question        text        not null constraint examples_question_check check (length(question) between 1 and 8000),
  answer          text        not null constraint examples_answer_check check (length(answer) between 1 and 32000),
  embedding       extensions.vector(384),
  embedding_model text,
  created_at      timestamptz not null default now()
);
create index examples_user     on rowcall.examples (user_id);
create index examples_document on rowcall.examples (document_id);
alter table rowcall.examples enable row level security;
revoke all on table rowcall.examples from public, anon, authenticated, service_role;
grant select on table rowcall.examples to anon, authenticated;
grant select, insert, update, delete on table rowcall.examples to service_role;
create policy "own examples: read" on rowcall.examples for select to authenticated using (user_id = (select auth.uid()));
create policy "examples of readable documents" on rowcall.examples for select to anon, authenticated
  using (document_id = any (array(select d.id from rowcall.documents d)));

create table rowcall.feedback (
  generation_id uuid        not null constraint feedback_generation_id_fkey references rowcall.generations (id) on delete cascade,
  user_id       uuid        not null default auth.uid() constraint feedback_user_id_fkey references auth.users (id) on delete cascade,
  rating        smallint    not null constraint feedback_rating_check check (rating in (-1, 1)),
  comment       text        constraint feedback_comment_check check (length(comment) <= 2000),
  created_at    timestamptz not null default now(),
  constraint feedback_pkey primary key (generation_id, user_id)
);
create index feedback_user on rowcall.feedback (user_id);
alter table rowcall.feedback enable row level security;
revoke all on table rowcall.feedback from public, anon, authenticated, service_role;
-- generation_id may be updated since an upsert writes every column that it was given.
grant select, insert (generation_id, rating, comment), update (generation_id, rating, comment), delete on table rowcall.feedback to authenticated;
grant select, insert, update, delete on table rowcall.feedback to service_role;
create policy "own feedback: read"   on rowcall.feedback for select to authenticated using (user_id = (select auth.uid()));
create policy "own feedback: insert" on rowcall.feedback for insert to authenticated
  with check (user_id = (select auth.uid()) and exists (select from rowcall.generations g where g.id = generation_id));
create policy "own feedback: update" on rowcall.feedback for update to authenticated
  using (user_id = (select auth.uid()))
  with check (user_id = (select auth.uid()) and exists (select from rowcall.generations g where g.id = generation_id));
create policy "own feedback: delete" on rowcall.feedback for delete to authenticated using (user_id = (select auth.uid()));

-- Answers that may be given again. Clients cannot read it: context_v1 serves an entry only to an asker who may read every chunk of its prompt.
create table rowcall.answer_cache (
  id              bigint      not null generated always as identity constraint answer_cache_pkey primary key,
  tenant          text        not null,
  question_key    text        not null,   -- a hash over the normalised question and the versions of prompt, route and policy
  question        text        not null,
  embedding       extensions.vector(384),
  embedding_model text,
  answer          text        not null,
  citations       jsonb       not null default '[]',
  chunk_ids       bigint[]    not null,   -- every chunk that was in the prompt
  route           text,
  prompt_version  text,
  user_id         uuid        constraint answer_cache_user_id_fkey references auth.users (id) on delete cascade,   -- who asked first
  hits            integer     not null default 0,
  created_at      timestamptz not null default now(),
  expires_at      timestamptz not null,
  constraint answer_cache_question unique (tenant, question_key)
);
create index answer_cache_user    on rowcall.answer_cache (user_id);
create index answer_cache_expires on rowcall.answer_cache (expires_at);
alter table rowcall.answer_cache enable row level security;
revoke all on table rowcall.answer_cache from public, anon, authenticated, service_role;
grant select, insert, update, delete on table rowcall.answer_cache to service_role;

-- Documents: the owner as for generations, then the revision, then a generation of kind ingest in the same transaction.
create function rowcall.set_document_owner() returns trigger
language plpgsql set search_path = '' as $$
begin
  if rowcall.runs_for_client() then
    new.user_id := auth.uid();
    new.tenant  := rowcall.tenant_of(rowcall.claims_for(new.user_id));
  else
    new.user_id := coalesce(new.user_id, auth.uid());
    new.tenant  := coalesce(new.tenant, rowcall.tenant_of(rowcall.claims_for(new.user_id)));
  end if;
  return new;
end $$;
create trigger documents_1_set_owner before insert on rowcall.documents
  for each row execute function rowcall.set_document_owner();

create function rowcall.check_document() returns trigger
language plpgsql security definer set search_path = '' as $$
declare
  max_bytes bigint := (select l.value::bigint from rowcall.limits l where l.name = 'document_bytes');
begin
  new.id         := coalesce(new.id, gen_random_uuid());   -- null from clients that insert rows of several shapes at once
  new.media_type := coalesce(new.media_type, 'text/markdown');
  new.metadata   := coalesce(nullif(new.metadata, 'null'), '{}');
  if octet_length(new.content) > max_bytes then
    raise sqlstate 'PT400' using message = format('content has %s bytes, more than the limit of %s', octet_length(new.content), max_bytes),
      hint = 'Split the document, or raise rowcall.limits document_bytes.';
  end if;
  if tg_op = 'UPDATE' then
    if (new.id, new.user_id, new.tenant) is distinct from (old.id, old.user_id, old.tenant) then
      raise sqlstate 'PT409' using message = 'a document''s owner cannot be changed', hint = 'Insert a new document instead.';
    end if;
    if (new.title, new.source, new.media_type, new.content, new.metadata)
       is distinct from (old.title, old.source, old.media_type, old.content, old.metadata) then
      new.revision   := old.revision + 1;
      new.updated_at := now();
    end if;
  end if;
  return new;
end $$;
create trigger documents_2_check before insert or update on rowcall.documents
  for each row execute function rowcall.check_document();

-- One statement, one set of generations. The update of generation_id fires the trigger again with no revision changed, which ends it.
create function rowcall.ingest_inserted() returns trigger
language plpgsql security definer set search_path = '' as $$
begin
  with made as (
    insert into rowcall.generations (user_id, tenant, origin, kind, input)
    select i.user_id, i.tenant, 'document', 'ingest', jsonb_build_object('document_id', i.id) from inserted i
    returning id, (input ->> 'document_id')::uuid as document_id)
  update rowcall.documents d set generation_id = made.id from made where d.id = made.document_id;
  return null;
end $$;
create trigger documents_ingest_inserted after insert on rowcall.documents
  referencing new table as inserted for each statement execute function rowcall.ingest_inserted();

create function rowcall.ingest_changed() returns trigger
language plpgsql security definer set search_path = '' as $$
begin
  if not exists (select from after a join before b using (id) where a.revision <> b.revision) then return null; end if;
  with made as (
    insert into rowcall.generations (user_id, tenant, origin, kind, input)
    select a.user_id, a.tenant, 'document', 'ingest', jsonb_build_object('document_id', a.id)
      from after a join before b using (id) where a.revision <> b.revision
    returning id, (input ->> 'document_id')::uuid as document_id)
  update rowcall.documents d set generation_id = made.id from made where d.id = made.document_id;
  return null;
end $$;
create trigger documents_ingest_changed after update on rowcall.documents
  referencing old table as before new table as after for each statement execute function rowcall.ingest_changed();

revoke all on function rowcall.heading_text(text[]), rowcall.set_document_owner(), rowcall.check_document(), rowcall.ingest_inserted(),
  rowcall.ingest_changed() from public, anon, authenticated, service_role;
grant execute on function rowcall.heading_text(text[]) to service_role;   -- the generated column, as whoever inserts a chunk
