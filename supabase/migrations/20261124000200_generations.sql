-- The rows that clients insert and watch. The row is the only record of the work; what stands in Redis is a hint.

create table rowcall.generations (
  id              uuid        not null default gen_random_uuid() constraint generations_pkey primary key,
  -- Whose it is: set when the row is inserted, immutable.
  user_id         uuid        constraint generations_user_id_fkey references auth.users (id) on delete cascade,   -- null: nobody's, runs as anon
  tenant          text,
  claims          jsonb       not null,
  origin          text        not null constraint generations_origin_check check (origin in ('client', 'service', 'document', 'automation')),
  -- What is asked.
  kind            text        not null default 'answer' constraint generations_kind_fkey references rowcall.kinds (kind),
  input           jsonb       not null constraint generations_input_check check (jsonb_typeof(input) = 'object'),
  options         jsonb       not null default '{}' constraint generations_options_check check (jsonb_typeof(options) = 'object'),
  lane            text        not null constraint generations_lane_check check (lane in ('interactive', 'bulk')),
  -- A whole constraint, no partial index: on_conflict=user_id,idempotency_key cannot name a predicate. Nulls stay distinct.
  idempotency_key text        constraint generations_idempotency_key_check check (length(idempotency_key) between 1 and 200),
  target          jsonb,      -- {schema, table, key, column, hops}: where an automation wants the answer (rowcall.generate)
  -- Where it stands.
  status          text        not null default 'queued' constraint generations_status_check
                              check (status in ('queued', 'running', 'succeeded', 'failed', 'refused', 'review', 'canceled')),
  attempt         integer     not null default 0,   -- the fencing token: counts claims, never goes back
  tries           integer     not null default 0,   -- claims that count as a try; a release gives one back, a replay all
  losses          integer     not null default 0,   -- attempts that ended with their lease: their workers died; a replay forgives them
  run_at          timestamptz not null default now(),
  -- What came of it.
  answer          text,
  output          jsonb,
  citations       jsonb,
  error           jsonb,      -- {code, message}
  route           text,
  variant         text,
  prompt_version  text,
  tokens_in       integer,
  tokens_cached   integer,
  tokens_out      integer,
  cost_usd        numeric,    -- null: the model's price is unknown
  created_at      timestamptz not null default now(),
  started_at      timestamptz,
  first_token_at  timestamptz,
  finished_at     timestamptz,
  constraint generations_idempotency unique (user_id, idempotency_key)
);
create index generations_queued  on rowcall.generations (run_at, id) where status = 'queued';               -- the sweep
create index generations_open    on rowcall.generations (user_id) where status in ('queued', 'running');    -- the limit per owner
create index generations_mine    on rowcall.generations (user_id, created_at desc);                         -- the policy, a client's list
create index generations_ended   on rowcall.generations (finished_at) where finished_at is not null;        -- pruning

alter table rowcall.generations enable row level security;
revoke all on table rowcall.generations from public, anon, authenticated, service_role;
grant select on table rowcall.generations to authenticated;
grant insert (kind, input, options, lane, idempotency_key) on table rowcall.generations to authenticated;
grant select, insert, update, delete on table rowcall.generations to service_role;

create policy "own generations: read" on rowcall.generations for select to authenticated
  using (user_id = (select auth.uid()));
create policy "own generations: insert" on rowcall.generations for insert to authenticated
  with check (user_id = (select auth.uid()));

-- Before insert, first: the owner. INVOKER, so that current_user tells a client from a trusted writer.
-- What a client's token says is final; a trusted writer may name another owner.
create function rowcall.set_owner() returns trigger
language plpgsql set search_path = '' as $$
begin
  if rowcall.runs_for_client() then
    new.user_id := auth.uid();
    new.claims  := rowcall.claims_for(new.user_id);
    new.tenant  := rowcall.tenant_of(new.claims);
    new.origin  := 'client';
  else
    new.user_id := coalesce(new.user_id, auth.uid());
    new.claims  := coalesce(new.claims, rowcall.claims_for(new.user_id));
    new.tenant  := coalesce(new.tenant, rowcall.tenant_of(new.claims));
    new.origin  := coalesce(new.origin, 'service');
  end if;
  return new;
end $$;
create trigger generations_1_set_owner before insert on rowcall.generations
  for each row execute function rowcall.set_owner();

-- What is wrong with an input or with options, as a sentence that names field and value; null: nothing.
create function rowcall.input_problem(kind rowcall.kinds, input jsonb, max_bytes integer, max_depth integer) returns text
language plpgsql immutable set search_path = '' as $$
declare
  field text;
  turn  jsonb;
begin
  if jsonb_typeof(input) is distinct from 'object' then
    return format('input must be a JSON object, not %s', coalesce(jsonb_typeof(input), 'missing'));
  end if;
  if octet_length(input::text) > max_bytes then
    return format('input has %s bytes, more than the limit of %s', octet_length(input::text), max_bytes);
  end if;
  if jsonb_path_exists(input, format('strict $.**{%s}', max_depth + 1)::jsonpath) then
    return format('input is nested deeper than %s levels', max_depth);
  end if;
  foreach field in array kind.required_input loop
    if jsonb_typeof(input -> field) is distinct from 'string' or (input ->> field) !~ '\S' then
      return format('input.%s must be a non-empty text for kind %s', field, kind.kind);
    end if;
  end loop;
  if input ? 'filter' then
    if jsonb_typeof(input -> 'filter') <> 'object' then
      return format('input.filter must be an object, not %s', jsonb_typeof(input -> 'filter'));
    end if;
    for field in select jsonb_object_keys(input -> 'filter') loop
      if field not in ('document_ids', 'metadata') then
        return format('input.filter.%s is not known; allowed: document_ids, metadata', left(field, 50));
      end if;
    end loop;
    if input -> 'filter' ? 'document_ids'
       and not jsonb_path_match(input, 'strict $.filter.document_ids.type() == "array"
             && !exists($.filter.document_ids[*] ? (@.type() != "string"
                || !(@ like_regex "^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$" flag "i")))') then
      return 'input.filter.document_ids must be an array of document ids';
    end if;
    if input -> 'filter' ? 'metadata' and jsonb_typeof(input -> 'filter' -> 'metadata') <> 'object' then
      return format('input.filter.metadata must be an object, not %s', jsonb_typeof(input -> 'filter' -> 'metadata'));
    end if;
  end if;
  if input ? 'history' then
    if jsonb_typeof(input -> 'history') <> 'array' then
      return format('input.history must be an array, not %s', jsonb_typeof(input -> 'history'));
    end if;
    for turn in select value from jsonb_array_elements(input -> 'history') loop
      if coalesce(turn ->> 'role', '') not in ('user', 'assistant') then
        return format('input.history: role must be user or assistant, not %s', coalesce(left((turn -> 'role')::text, 50), 'missing'));
      end if;
      if jsonb_typeof(turn -> 'content') is distinct from 'string' then
        return 'input.history: content must be a text';
      end if;
    end loop;
  end if;
  return null;
end $$;

create function rowcall.options_problem(options jsonb) returns text
language plpgsql immutable set search_path = '' as $$
declare
  key text;
begin
  if jsonb_typeof(options) is distinct from 'object' then
    return format('options must be a JSON object, not %s', jsonb_typeof(options));
  end if;
  for key in select jsonb_object_keys(options) loop
    if key not in ('quality', 'max_output_tokens') then
      return format('options.%s is not known; allowed: quality, max_output_tokens', left(key, 50));
    end if;
  end loop;
  if options ? 'quality' and coalesce(options ->> 'quality', '') not in ('auto', 'fast', 'best') then
    return format('options.quality must be auto, fast or best, not %s', left((options -> 'quality')::text, 50));
  end if;
  if options ? 'max_output_tokens'
     and (jsonb_typeof(options -> 'max_output_tokens') <> 'number' or (options ->> 'max_output_tokens') !~ '^[1-9][0-9]{0,5}$') then
    return format('options.max_output_tokens must be a whole number from 1 to 999999, not %s', left((options -> 'max_output_tokens')::text, 50));
  end if;
  return null;
end $$;

-- Before insert, second: is it acceptable? DEFINER: a client may not read kinds and limits.
create function rowcall.check_generation() returns trigger
language plpgsql security definer set search_path = '' as $$
declare
  job     rowcall.kinds;
  problem text;
begin
  new.id      := coalesce(new.id, gen_random_uuid());   -- supabase-js sends null for columns that one row of several lacks
  new.kind    := coalesce(new.kind, 'answer');
  new.options := coalesce(nullif(new.options, 'null'), '{}');
  select * into job from rowcall.kinds k where k.kind = new.kind;
  if not found or (new.origin = 'client' and not job.by_clients) then
    raise sqlstate 'PT400' using message = format('kind must be one of %s, not %s',
      (select string_agg(k.kind, ', ' order by k.kind) from rowcall.kinds k where k.by_clients or new.origin <> 'client'), left(new.kind, 70));
  end if;
  new.lane := coalesce(new.lane, job.lane);
  problem := coalesce(
    rowcall.input_problem(job, new.input,
      (select l.value::integer from rowcall.limits l where l.name = 'input_bytes'),
      (select l.value::integer from rowcall.limits l where l.name = 'input_depth')),
    rowcall.options_problem(new.options));
  if problem is not null then
    raise sqlstate 'PT400' using message = problem;
  end if;
  return new;
end $$;
create trigger generations_2_check before insert on rowcall.generations
  for each row execute function rowcall.check_generation();

-- What each tenant has spent on each day (UTC). Kept by the functions that settle calls.
create table rowcall.spend (
  tenant         text    not null,
  day            date    not null,
  cost_usd       numeric not null default 0,
  calls          bigint  not null default 0,
  unpriced_calls bigint  not null default 0,   -- calls whose model has no known price: their cost is not in cost_usd
  tokens_in      bigint  not null default 0,
  tokens_out     bigint  not null default 0,
  constraint spend_pkey primary key (tenant, day)
);
alter table rowcall.spend enable row level security;
revoke all on table rowcall.spend from public, anon, authenticated, service_role;
grant select, insert, update, delete on table rowcall.spend to service_role;

-- What forbids an owner and a tenant `more` rows of that origin, beside those that are there; null: nothing. {code, message, hint}
create function rowcall.limit_problem(owner uuid, tenant text, origin text, more integer) returns jsonb
language plpgsql stable set search_path = '' as $$
declare
  limit_name text := case origin when 'client' then 'unfinished_per_owner' when 'service' then null else 'unfinished_per_owner_automatic' end;
  most       numeric := (select l.value from rowcall.limits l where l.name = limit_name);
  budget     numeric := (select l.value from rowcall.limits l where l.name = 'usd_per_tenant_and_day');
begin
  if owner is not null and most is not null
     and most < more + (select count(*) from (select from rowcall.generations g where g.user_id = owner and g.status in ('queued', 'running')
                                              limit most::bigint + 1) open) then
    return jsonb_build_object('code', 'limits.' || limit_name, 'message', format('an owner may have %s unfinished generations', most),
      'hint', 'Wait until some have finished, or cancel some.');
  end if;
  if budget <= (select s.cost_usd from rowcall.spend s
                 where s.tenant = limit_problem.tenant and s.day = (now() at time zone 'utc')::date) then
    return jsonb_build_object('code', 'limits.usd_per_tenant_and_day', 'message', format('the tenant has spent its %s US dollars of today', budget),
      'hint', 'The budget starts anew at midnight UTC.');
  end if;
  return null;
end $$;

-- After insert, once per statement: how much may one owner have open, one tenant spend? Two statements at the same instant may
-- both pass with the last place; that is a few rows too many, not an unbounded number.
-- What an automation makes is checked before (rowcall.generate): a limit of ours must not cost the user's own write.
create function rowcall.check_limits() returns trigger
language plpgsql security definer set search_path = '' as $$
declare
  problem jsonb;
begin
  select p into problem
    from (select distinct i.user_id, i.tenant, i.origin from inserted i where i.origin <> 'automation') i,
         rowcall.limit_problem(i.user_id, i.tenant, i.origin, 0) p
   where p is not null limit 1;
  if found then
    raise sqlstate 'PT429' using message = format('%s: %s', problem ->> 'code', problem ->> 'message'), hint = problem ->> 'hint';
  end if;
  return null;
end $$;
create trigger generations_1_check_limits after insert on rowcall.generations
  referencing new table as inserted for each statement execute function rowcall.check_limits();

-- Who asked and what was asked never changes; the status moves only along these edges (worker/lifecycle.py has the same table).
create function rowcall.move_is_allowed(before text, after text) returns boolean
language sql immutable parallel safe set search_path = '' as $$
  select (before, after) in (
    ('queued',   'running'),     -- claim
    ('queued',   'canceled'),    -- cancel
    ('running',  'running'),     -- claim, after a lease that ended
    ('running',  'queued'),      -- retry, release
    ('running',  'succeeded'),   -- finish
    ('running',  'failed'),      -- fail
    ('running',  'refused'),     -- refuse
    ('running',  'review'),      -- finish, for a person to look at
    ('running',  'canceled'),    -- cancel
    ('failed',   'queued'),      -- replay
    ('refused',  'queued'),      -- replay
    ('review',   'queued'),      -- replay
    ('canceled', 'queued')       -- replay
  )
$$;

create function rowcall.guard_generation() returns trigger
language plpgsql set search_path = '' as $$
begin
  if (new.id, new.user_id, new.tenant, new.claims, new.origin, new.kind, new.input, new.target, new.idempotency_key, new.created_at)
     is distinct from
     (old.id, old.user_id, old.tenant, old.claims, old.origin, old.kind, old.input, old.target, old.idempotency_key, old.created_at) then
    raise sqlstate 'PT409' using message = 'a generation''s owner and input cannot be changed', hint = 'Insert a new row instead.';
  end if;
  if new.attempt < old.attempt then
    raise sqlstate 'PT409' using message = format('attempt cannot go back from %s to %s', old.attempt, new.attempt);
  end if;
  if not rowcall.move_is_allowed(old.status, new.status) then
    raise sqlstate 'PT409' using message = format('status cannot move from %s to %s', old.status, new.status);
  end if;
  return new;
end $$;
create trigger generations_guard before update on rowcall.generations
  for each row execute function rowcall.guard_generation();

revoke all on function rowcall.set_owner(), rowcall.input_problem(rowcall.kinds, jsonb, integer, integer), rowcall.options_problem(jsonb),
  rowcall.check_generation(), rowcall.limit_problem(uuid, text, text, integer), rowcall.check_limits(), rowcall.move_is_allowed(text, text), rowcall.guard_generation()
  from public, anon, authenticated, service_role;
-- The guard runs as whoever updates: the worker, and the definer functions below.
grant execute on function rowcall.move_is_allowed(text, text) to service_role;
