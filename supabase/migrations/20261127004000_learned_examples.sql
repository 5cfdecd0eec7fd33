-- Well-rated answers become examples of who asked, and of nobody else: one that its owner has rated up, whose question stands alone, and
-- whose passages still stand in their documents. An example lives as long as its row, its rating and the passages that it cites.
-- An example is found by its question's vector, which a generation of kind learn_example makes as the owner, in the ledger like any call.

insert into rowcall.kinds (kind, by_clients, required_input, lane) values ('learn_example', false, '{example_id}', 'bulk');

insert into rowcall.limits (name, value, description) values
  ('examples_per_owner', 500,  'examples that are made from the well-rated answers of one owner'),
  ('example_characters', 2000, 'question and answer of such an example together: a prompt has room for about 400 tokens');

-- The same for questions that differ in case and spaces only.
create function rowcall.question_hash(question text) returns text
language sql immutable parallel safe set search_path = '' as $$ select md5(lower(regexp_replace(btrim(question), '\s+', ' ', 'g'))) $$;

alter table rowcall.examples
  add column generation_id uuid constraint examples_generation_id_fkey references rowcall.generations (id) on delete cascade,   -- whose answer it is
  add column chunk_ids     bigint[] not null default '{}',   -- what its answer cites
  add column learned_by    uuid,                             -- the latest generation of kind learn_example
  add constraint examples_generation unique (generation_id);
create index examples_question on rowcall.examples (user_id, kind, rowcall.question_hash(question));
create index examples_chunks   on rowcall.examples using gin (chunk_ids);

-- A rating makes one example at most: one that an operator removed, or whose passages have changed, does not come again.
alter table rowcall.feedback add column promoted_at timestamptz;

create function rowcall.renew_rating() returns trigger
language plpgsql set search_path = '' as $$
begin
  new.promoted_at := null;
  return new;
end $$;
create trigger feedback_renew before update of rating, generation_id on rowcall.feedback
  for each row when ((old.rating, old.generation_id) is distinct from (new.rating, new.generation_id)) execute function rowcall.renew_rating();

-- Whether the owner has rated it up, and nobody who may see it has rated it down.
create function rowcall.is_well_rated(generation_id uuid, owner uuid) returns boolean
language sql stable set search_path = '' as $$
  select exists (select from rowcall.feedback f
                  where f.generation_id = is_well_rated.generation_id and f.user_id = is_well_rated.owner and f.rating > 0)
     and not exists (select from rowcall.feedback f where f.generation_id = is_well_rated.generation_id and f.rating < 0)
$$;

create function rowcall.forget_example_of_rating() returns trigger
language plpgsql security definer set search_path = '' as $$
begin
  delete from rowcall.examples e
   where e.generation_id in (old.generation_id, new.generation_id) and not rowcall.is_well_rated(e.generation_id, e.user_id);
  return null;
end $$;
create trigger feedback_forget_example after insert or update or delete on rowcall.feedback
  for each row execute function rowcall.forget_example_of_rating();

-- In the order of their ids: two ingests may remove passages of the same examples.
create function rowcall.forget_examples_of_chunks() returns trigger
language plpgsql security definer set search_path = '' as $$
begin
  delete from rowcall.examples e
   where e.id in (select x.id from rowcall.examples x where x.chunk_ids && array(select c.id from gone c) order by x.id for update);
  return null;
end $$;
create trigger chunks_forget_examples after delete on rowcall.chunks
  referencing old table as gone for each statement execute function rowcall.forget_examples_of_chunks();

create function rowcall.cited_chunks(citations jsonb) returns bigint[]
language sql immutable parallel safe set search_path = '' as $$
  select coalesce(array_agg(distinct (c ->> 'chunk_id')::bigint), '{}')
    from jsonb_array_elements(case when jsonb_typeof(citations) = 'array' then citations else '[]' end) c
   where jsonb_typeof(c -> 'chunk_id') = 'number'
$$;

-- Why an answer cannot be an example; null: it can.
create function rowcall.example_problem(g rowcall.generations) returns text
language sql stable set search_path = '' as $$
  select case
    when g.status <> 'succeeded' or g.error is not null then 'it has not succeeded'
    when jsonb_typeof(g.input -> 'question') is distinct from 'string' or coalesce(g.answer, '') !~ '\S' then 'it has no question and answer'
    when g.input ?| array['history', 'filter'] then 'its question does not stand alone: it has a history or a filter'
    when jsonb_path_exists(g.output, '$.warnings[*]') then 'its answer carries a warning'
    when g.kind = 'answer' and rowcall.cited_chunks(g.citations) = '{}' then 'its answer cites nothing'
    when length(g.input ->> 'question') + length(g.answer) > (select l.value from rowcall.limits l where l.name = 'example_characters')
      then 'it is too long (rowcall.limits example_characters)'
    when not rowcall.is_well_rated(g.id, g.user_id) then 'somebody has rated it down'
    when cardinality(rowcall.cited_chunks(g.citations)) <> (select count(*) from rowcall.chunks c where c.id = any (rowcall.cited_chunks(g.citations)))
      then 'a passage that it cites has changed'
    when exists (select from rowcall.examples e where e.user_id = g.user_id and e.kind = g.kind
                    and rowcall.question_hash(e.question) = rowcall.question_hash(g.input ->> 'question'))
      then 'there is an example with the same question'
    when (select count(*) from rowcall.examples e where e.user_id = g.user_id and e.generation_id is not null)
         >= (select l.value from rowcall.limits l where l.name = 'examples_per_owner')
      then 'its owner has enough of them (rowcall.limits examples_per_owner)'
  end
$$;

-- Examples of the answers rated up since then, a page of ratings in the order of their generations, after that one. One at a time, so that no
-- question is taken twice; whoever changes a rating or deletes a row at this moment is not waited for: the next call finds it.
create function rowcall.promote_examples_v1(since timestamptz, after uuid default '00000000-0000-0000-0000-000000000000', max_rows integer default 500)
returns table (generation_id uuid, example_id bigint, problem text)
language plpgsql set search_path = '' set statement_timeout = '60s' as $$
#variable_conflict use_column
declare
  g rowcall.generations;
begin
  perform pg_advisory_xact_lock(hashtextextended('rowcall.promote_examples', 0));
  -- Rated down by another at the instant of its promotion.
  delete from rowcall.examples e where e.generation_id is not null and not rowcall.is_well_rated(e.generation_id, e.user_id);
  for g in
    select r.* from rowcall.feedback f join rowcall.generations r on r.id = f.generation_id and r.user_id = f.user_id
     where f.rating > 0 and f.promoted_at is null and f.created_at >= since and f.generation_id > after
     order by f.generation_id limit max_rows
       for no key update of f skip locked for key share of r skip locked
  loop
    generation_id := g.id; example_id := null; problem := rowcall.example_problem(g);
    if problem is null then
      insert into rowcall.examples (user_id, kind, question, answer, generation_id, chunk_ids)
      values (g.user_id, g.kind, g.input ->> 'question', g.answer, g.id, rowcall.cited_chunks(g.citations))
      returning id into example_id;
      update rowcall.feedback f set promoted_at = now() where f.generation_id = g.id and f.user_id = g.user_id;
    end if;
    return next;
  end loop;
end $$;

-- A generation that makes the vector of each example which that model's questions cannot find; one that is under way is kept. A page in the
-- order of their ids, after that one. In the name of the owner, of the row or of the document, and under the claims of the row.
create function rowcall.learn_examples_v1(embedding_model text, after bigint default 0, max_rows integer default 500)
returns table (id bigint, generation_id uuid, problem text)
language plpgsql set search_path = '' set statement_timeout = '60s' as $$
declare
  e record;
begin
  for e in
    select x.id, x.learned_by, coalesce(x.user_id, d.user_id) as user_id, coalesce(g.tenant, d.tenant) as tenant, g.claims
      from rowcall.examples x left join rowcall.documents d on d.id = x.document_id left join rowcall.generations g on g.id = x.generation_id
     where x.id > after and (x.embedding is null or x.embedding_model is distinct from learn_examples_v1.embedding_model)
     order by x.id limit max_rows for no key update of x
  loop
    id := e.id; problem := null;
    generation_id := (select r.id from rowcall.generations r where r.id = e.learned_by and r.status in ('queued', 'running'));
    if generation_id is null then
      problem := case when e.user_id is null then 'it is nobody''s'
                      else rowcall.limit_problem(e.user_id, e.tenant, 'service', 1) ->> 'message' end;
    end if;
    if generation_id is null and problem is null then
      insert into rowcall.generations (user_id, tenant, claims, origin, kind, input)
      values (e.user_id, e.tenant, e.claims, 'service', 'learn_example', jsonb_build_object('example_id', e.id::text))
      returning generations.id into generation_id;
      update rowcall.examples x set learned_by = learn_examples_v1.generation_id where x.id = e.id;
    end if;
    return next;
  end loop;
end $$;

-- The question to learn, read as the owner; null: the example is gone, or the owner may no longer read what its answer cites.
create function rowcall.read_example_v1(generation_id uuid, attempt integer) returns jsonb
language plpgsql set search_path = public, extensions as $$
declare
  caller text := current_user;
  g      rowcall.generations := rowcall.held_generation(generation_id, attempt);
  result jsonb;
begin
  perform rowcall.become(g.user_id, g.claims);
  select jsonb_build_object('question', e.question) into result
    from rowcall.examples e
   where e.id = (g.input ->> 'example_id')::bigint
     and cardinality(e.chunk_ids) = (select count(*) from rowcall.chunks c where c.id = any (e.chunk_ids));
  perform set_config('role', caller, true);
  return result;
end $$;

create function rowcall.store_example_v1(generation_id uuid, attempt integer, embedding extensions.vector, embedding_model text) returns boolean
language plpgsql set search_path = '' as $$
declare
  g rowcall.generations := rowcall.held_generation(generation_id, attempt);
begin
  update rowcall.examples e set embedding = store_example_v1.embedding, embedding_model = store_example_v1.embedding_model
   where e.id = (g.input ->> 'example_id')::bigint;
  return found;
end $$;

-- The operator's list, the latest first, without what was asked and answered.
create function rowcall.examples_v1(max_rows integer default 100)
returns table (id bigint, user_id uuid, document_id uuid, generation_id uuid, kind text, characters integer, embedding_model text, created_at timestamptz)
language sql stable set search_path = '' as $$
  select e.id, e.user_id, e.document_id, e.generation_id, e.kind, length(e.question) + length(e.answer), e.embedding_model, e.created_at
    from rowcall.examples e order by e.id desc limit max_rows
$$;

create function rowcall.remove_examples_v1(ids bigint[]) returns setof bigint
language sql set search_path = '' as $$ delete from rowcall.examples e where e.id = any (ids) returning e.id $$;

revoke all on function rowcall.question_hash(text), rowcall.renew_rating(), rowcall.is_well_rated(uuid, uuid), rowcall.forget_example_of_rating(),
  rowcall.forget_examples_of_chunks(), rowcall.cited_chunks(jsonb), rowcall.example_problem(rowcall.generations),
  rowcall.promote_examples_v1(timestamptz, uuid, integer), rowcall.learn_examples_v1(text, bigint, integer), rowcall.read_example_v1(uuid, integer),
  rowcall.store_example_v1(uuid, integer, extensions.vector, text), rowcall.examples_v1(integer), rowcall.remove_examples_v1(bigint[])
  from public, anon, authenticated, service_role;
grant execute on function rowcall.limit_problem(uuid, text, text, integer) to service_role;   -- learn_examples_v1 asks it
grant execute on function rowcall.question_hash(text), rowcall.is_well_rated(uuid, uuid), rowcall.cited_chunks(jsonb),
  rowcall.example_problem(rowcall.generations), rowcall.promote_examples_v1(timestamptz, uuid, integer),
  rowcall.learn_examples_v1(text, bigint, integer), rowcall.read_example_v1(uuid, integer),
  rowcall.store_example_v1(uuid, integer, extensions.vector, text), rowcall.examples_v1(integer), rowcall.remove_examples_v1(bigint[])
  to service_role;
