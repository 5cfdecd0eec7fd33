-- Attempts: who runs a generation, until when, and how far it came. Calls: the ledger of every model call.

create table rowcall.attempts (
  generation_id  uuid        not null constraint attempts_generation_id_fkey references rowcall.generations (id) on delete cascade,
  attempt        integer     not null,
  worker         text        not null,
  lease_until    timestamptz not null,   -- decides who runs; a lease in Redis only paces redelivery
  partial        text,                   -- the text so far, as of the last checkpoint
  partial_offset integer     not null default 0,   -- its length in UTF-16 code units: where the next delta continues
  outcome        text        constraint attempts_outcome_check
                             check (outcome in ('succeeded', 'failed', 'refused', 'review', 'retried', 'released', 'lost', 'canceled')),
  error          jsonb,
  started_at     timestamptz not null default now(),
  finished_at    timestamptz,
  constraint attempts_pkey primary key (generation_id, attempt)
);
create index attempts_lease on rowcall.attempts (lease_until, generation_id) where outcome is null;   -- the sweep
alter table rowcall.attempts enable row level security;
revoke all on table rowcall.attempts from public, anon, authenticated, service_role;
grant select on table rowcall.attempts to authenticated;
grant select, insert, update, delete on table rowcall.attempts to service_role;
create policy "own attempts: read" on rowcall.attempts for select to authenticated
  using (exists (select from rowcall.generations g where g.id = generation_id));   -- under the policies of generations

create table rowcall.calls (
  id               uuid        not null default gen_random_uuid() constraint calls_pkey primary key,
  -- Deleting a generation or a user leaves the numbers.
  generation_id    uuid        constraint calls_generation_id_fkey references rowcall.generations (id) on delete set null,
  user_id          uuid        constraint calls_user_id_fkey references auth.users (id) on delete set null,
  tenant           text,
  kind             text        not null,   -- of the generation: the query type
  attempt          integer     not null,
  purpose          text        not null constraint calls_purpose_check check (purpose ~ '^[a-z][a-z0-9_]{0,62}$'),   -- embed, answer, …
  status           text        not null default 'open' constraint calls_status_check
                               check (status in ('open', 'succeeded', 'failed', 'abandoned')),   -- abandoned: nobody closed it, its cost is unknown
  provider         text,
  model            text,
  route            text,
  tokens_in        integer,
  tokens_cached    integer,
  tokens_out       integer,
  tokens_reasoning integer,
  is_estimated     boolean     not null default false,   -- counted by the worker: the call ended before the provider told its tokens
  cost_usd         numeric,
  reserved_usd     numeric,   -- the most that it may cost, taken from the tenant's budget while it is open; null: its price is unknown
  first_token_ms   integer,
  duration_ms      integer,
  error_code       text,
  created_at       timestamptz not null default now(),
  finished_at      timestamptz
);
create index calls_generation on rowcall.calls (generation_id);
create index calls_tenant     on rowcall.calls (tenant, created_at desc);
create index calls_user       on rowcall.calls (user_id);
create index calls_created    on rowcall.calls (created_at);
create index calls_open       on rowcall.calls (created_at) where status = 'open';
create index calls_reserved   on rowcall.calls (tenant, reserved_usd) where status = 'open';
alter table rowcall.calls enable row level security;
revoke all on table rowcall.calls from public, anon, authenticated, service_role;
grant select, insert, update, delete on table rowcall.calls to service_role;

-- A personal tenant is named by its user: with the user, the name and its daily sums go.
create function rowcall.forget_tenant() returns trigger
language plpgsql set search_path = '' as $$
begin
  new.tenant := nullif(new.tenant, old.user_id::text);
  delete from rowcall.spend s where s.tenant = old.user_id::text;
  return new;
end $$;
create trigger calls_forget_tenant before update of user_id on rowcall.calls
  for each row when (old.user_id is not null and new.user_id is null) execute function rowcall.forget_tenant();

-- What is left of the tenant's budget of today, less what is reserved for calls under way; null: there is no budget. Calls that are opened
-- at the same instant do not see each other: together they may spend a little too much, by the reservation of each.
create function rowcall.budget_left(tenant text) returns numeric
language sql stable set search_path = '' as $$
  select l.value
         - coalesce((select s.cost_usd from rowcall.spend s where s.tenant = budget_left.tenant and s.day = (now() at time zone 'utc')::date), 0)
         - coalesce((select sum(k.reserved_usd) from rowcall.calls k where k.tenant = budget_left.tenant and k.status = 'open'), 0)
    from rowcall.limits l where l.name = 'usd_per_tenant_and_day' and budget_left.tenant is not null
$$;

-- The insert of a call in its generation's name; null: the tenant's budget does not allow it.
-- opens: {"purpose", "provider", "model", "route", "reserved_usd"}
create function rowcall.open_call(generation rowcall.generations, attempt integer, opens jsonb) returns uuid
language sql set search_path = '' as $$
  insert into rowcall.calls (generation_id, user_id, tenant, kind, attempt, purpose, provider, model, route, reserved_usd)
  select generation.id, generation.user_id, generation.tenant, generation.kind, attempt,
         opens ->> 'purpose', opens ->> 'provider', opens ->> 'model', opens ->> 'route', (opens ->> 'reserved_usd')::numeric
   where coalesce((opens ->> 'reserved_usd')::numeric <= rowcall.budget_left(generation.tenant), true)
  returning id
$$;

-- Closes ledger rows and books what they cost. One statement that locks in order, last in its transaction: two batches cannot deadlock.
-- A call is closed once. It is closed also for an attempt that was lost: its tokens were used. Calls of the generations settled that are
-- still open were never made (the reply that told their ids was lost, say): nobody will close them, they are abandoned.
create function rowcall.close_calls(closings jsonb[], settled uuid[] default '{}') returns void
language sql set search_path = '' as $$
  with given as (
    select distinct on (c.id) c.*
      from unnest(closings) e, jsonb_to_record(e) c (id uuid, status text, provider text, model text, route text, tokens_in integer,
           tokens_cached integer, tokens_out integer, tokens_reasoning integer, cost_usd numeric, first_token_ms integer, duration_ms integer,
           error_code text, is_estimated boolean)
     where c.id is not null
     order by c.id),
  mine as materialized (
    select k.id from rowcall.calls k
     where k.id in (select g.id from given g) and k.status in ('open', 'abandoned') or k.generation_id = any (settled) and k.status = 'open'
     order by k.id for no key update),
  forgotten as (
    update rowcall.calls k set status = 'abandoned', finished_at = now()
      from mine m where k.id = m.id and k.id not in (select g.id from given g)),
  closed as (
    update rowcall.calls k
       set status = g.status, provider = coalesce(g.provider, k.provider), model = coalesce(g.model, k.model), route = coalesce(g.route, k.route),
           tokens_in = g.tokens_in, tokens_cached = g.tokens_cached, tokens_out = g.tokens_out, tokens_reasoning = g.tokens_reasoning,
           cost_usd = g.cost_usd, first_token_ms = g.first_token_ms, duration_ms = g.duration_ms, error_code = g.error_code,
           is_estimated = coalesce(g.is_estimated, false), finished_at = now()
      from given g join mine m on m.id = g.id
     where k.id = g.id
    returning k.tenant, k.cost_usd, k.tokens_in, k.tokens_out)
  insert into rowcall.spend as s (tenant, day, cost_usd, calls, unpriced_calls, tokens_in, tokens_out)
  select c.tenant, (now() at time zone 'utc')::date, coalesce(sum(c.cost_usd), 0), count(*), count(*) filter (where c.cost_usd is null),
         coalesce(sum(c.tokens_in), 0), coalesce(sum(c.tokens_out), 0)
    from closed c where c.tenant is not null group by c.tenant order by c.tenant
  on conflict (tenant, day) do update
     set cost_usd = s.cost_usd + excluded.cost_usd, calls = s.calls + excluded.calls, unpriced_calls = s.unpriced_calls + excluded.unpriced_calls,
         tokens_in = s.tokens_in + excluded.tokens_in, tokens_out = s.tokens_out + excluded.tokens_out
$$;

-- Ledger rows for calls that claim and context have not opened: [{"generation_id", "attempt", "purpose", "provider", "model", "route",
-- "reserved_usd"}]. One id for each, in the order given, or null and why: attempt.lost, limits.usd_per_tenant_and_day.
create function rowcall.open_calls_v1(opens jsonb[]) returns table (ordinal bigint, call_id uuid, problem text)
language plpgsql set search_path = '' as $$
declare
  generation rowcall.generations;
  opening    jsonb;
begin
  ordinal := 0;
  foreach opening in array opens loop
    ordinal := ordinal + 1;
    select * into generation from rowcall.generations g
     where g.id = (opening ->> 'generation_id')::uuid and g.attempt = (opening ->> 'attempt')::integer and g.status = 'running';
    problem := case when not found then 'attempt.lost' end;
    call_id := case when found then rowcall.open_call(generation, generation.attempt, opening) end;
    problem := coalesce(problem, case when call_id is null then 'limits.usd_per_tenant_and_day' end);
    return next;
  end loop;
end $$;

create function rowcall.close_calls_v1(closings jsonb[]) returns void
language sql set search_path = '' as $$ select rowcall.close_calls(closings) $$;

revoke all on function rowcall.forget_tenant(), rowcall.budget_left(text), rowcall.open_call(rowcall.generations, integer, jsonb),
  rowcall.close_calls(jsonb[], uuid[]), rowcall.open_calls_v1(jsonb[]), rowcall.close_calls_v1(jsonb[]) from public, anon, authenticated, service_role;
grant execute on function rowcall.budget_left(text), rowcall.open_call(rowcall.generations, integer, jsonb), rowcall.close_calls(jsonb[], uuid[]),
  rowcall.open_calls_v1(jsonb[]), rowcall.close_calls_v1(jsonb[]) to service_role;
