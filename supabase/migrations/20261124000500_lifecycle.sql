-- Each state change of a generation is one function, called by the worker in batches with the secret key; cancel and delete are for the owner.
-- Whoever writes names the attempt it was given (the fencing token); a stale one changes nothing.
-- Locks are taken in one order everywhere: by the generation's id, the generation before its attempt; then calls by id, then spend by
-- tenant. Claim and renew take many generations or attempts at once and never wait for one: they skip what is locked. Without this two
-- batches could deadlock, and PostgREST repeats 40P01 without end.
-- Batches are jsonb[]: @supabase/lite hands a single jsonb over as a JSON string, an array of them arrives the same on both.

-- Calls that nobody may ever close: their worker has died, was told to stop, or never heard that they were opened. If it closes them after
-- all, that counts.
create function rowcall.abandon_calls(generations uuid[]) returns void
language sql set search_path = '' as $$
  update rowcall.calls c set status = 'abandoned', finished_at = now()
    from (select k.id from rowcall.calls k where k.generation_id = any (generations) and k.status = 'open' order by k.id for no key update) k
   where c.id = k.id
$$;

-- The attempts whose leases ended: lost, their open calls abandoned. A row that has cost its workers max_losses attempts is likely what
-- kills them (a document that eats all memory, say): it fails instead of running again. Answers the rows that did.
create function rowcall.lose_attempts(ids uuid[], max_losses integer) returns setof rowcall.generations
language plpgsql set search_path = '' as $$
declare
  g rowcall.generations;
begin
  update rowcall.attempts a set outcome = 'lost', finished_at = now() where a.generation_id = any (ids) and a.outcome is null;
  perform rowcall.abandon_calls(ids);
  for g in
    update rowcall.generations p
       set status = 'failed', losses = p.losses + 1, finished_at = now(), error = jsonb_build_object('code', 'attempt.poisoned',
           'message', format('The worker that ran it died %s times.', p.losses + 1))
     where p.id = any (ids) and p.losses + 1 >= max_losses
    returning p.*
  loop
    perform rowcall.send_done(g.id, g.attempt, g.status);
    return next g;
  end loop;
end $$;

create function rowcall.broken_off(generation_id uuid) returns jsonb
language sql stable set search_path = '' as $$
  select coalesce(jsonb_agg(jsonb_build_object('route', k.route, 'code', k.error_code) order by k.created_at), '[]')
    from rowcall.calls k
   where k.generation_id = broken_off.generation_id and k.status = 'failed' and k.first_token_ms is not null and k.route is not null
     and k.error_code like 'model.%'
$$;

-- claim: queued and due, or running with a lease that ended → running, attempt + 1; or → failed, when it was lost max_losses times.
-- Opens the first call of each kind's job in the ledger, if the tenant's budget allows it: a call that is not opened here the worker opens,
-- and hears why not. opens: [{"kind", "purpose", "provider", "model", "route", "reserved_usd"}], at most one per kind.
-- budget_left_share: what is left of the tenant's budget of today, 1: all; null: there is none.
-- Answers what is now the worker's (status running) and what it ended (failed). broken_off: the calls of earlier attempts that failed after
-- their first text, [{"route", "code"}] in their order: another model would have to go on there, so the next attempt begins with it.
create function rowcall.claim_generations_v1(ids uuid[], worker text, lease_s double precision, opens jsonb[] default '{}',
                                             max_losses integer default 3)
returns table (id uuid, attempt integer, tries integer, user_id uuid, tenant text, kind text, lane text, input jsonb, options jsonb,
               created_at timestamptz, call_id uuid, status text, broken_off jsonb,
               budget_left_share double precision)
language plpgsql set search_path = '' as $$
#variable_conflict use_column
declare
  locked  uuid[];
  expired uuid[];   -- those of them whose attempt has lost its lease
begin
  -- Lock first, then look, in statements of their own. A statement sees other tables as of its own start: one that did both could lock a
  -- row whose claim by another worker had just been committed, not see that worker's lease, and claim it again.
  locked := array(
    select g.id from rowcall.generations g
     where g.id = any (ids) and g.status in ('queued', 'running')
     order by g.id for no key update skip locked);
  expired := array(   -- an attempt that is locked is being renewed, checkpointed or settled: somebody lives
    select a.generation_id from rowcall.attempts a
     where a.generation_id = any (locked) and a.outcome is null and a.lease_until <= now()
     order by a.generation_id for no key update skip locked);
  if expired <> '{}' then
    return query
    select p.id, p.attempt, p.tries, p.user_id, p.tenant, p.kind, p.lane, p.input, p.options, p.created_at, null::uuid, p.status, '[]'::jsonb, null::double precision
      from rowcall.lose_attempts(expired, max_losses) p;
  end if;
  return query
  with due as materialized (
    select g.id from rowcall.generations g
     where g.id = any (locked) and (g.status = 'queued' and g.run_at <= now() or g.status = 'running' and g.id = any (expired))),
  claimed as (
    update rowcall.generations g
       set status = 'running', attempt = g.attempt + 1, tries = g.tries + 1, losses = g.losses + (g.status = 'running')::integer,
           started_at = coalesce(g.started_at, now()), error = null
      from due d where g.id = d.id
    returning g.*),
  begun as (
    insert into rowcall.attempts (generation_id, attempt, worker, lease_until)
    select c.id, c.attempt, claim_generations_v1.worker, now() + make_interval(secs => lease_s) from claimed c),
  opened as (
    insert into rowcall.calls (generation_id, user_id, tenant, kind, attempt, purpose, provider, model, route, reserved_usd)
    select c.id, c.user_id, c.tenant, c.kind, c.attempt, o ->> 'purpose', o ->> 'provider', o ->> 'model', o ->> 'route',
           (o ->> 'reserved_usd')::numeric
      from claimed c join unnest(opens) o on o ->> 'kind' = c.kind
     where coalesce((o ->> 'reserved_usd')::numeric <= rowcall.budget_left(c.tenant), true)
    returning calls.generation_id, calls.id)
  select c.id, c.attempt, c.tries, c.user_id, c.tenant, c.kind, c.lane, c.input, c.options, c.created_at, o.id, c.status,
         case when c.tries > 1 then rowcall.broken_off(c.id) else '[]' end,
         (rowcall.budget_left(c.tenant) / nullif((select l.value from rowcall.limits l where l.name = 'usd_per_tenant_and_day'), 0))::float8
    from claimed c left join opened o on o.generation_id = c.id
   order by c.id;
end $$;

-- renew: the leases that a worker says it holds, in one call. Answers those that it does hold, and those that it lost. One that it does not
-- name ends with its lease: a claim whose reply never came, an outcome that could not be written.
-- An attempt that is just being settled is locked and answers 'held'.
create function rowcall.renew_generations_v1(worker text, lease_s double precision, ids uuid[])
returns table (generation_id uuid, attempt integer, state text)
language sql set search_path = '' as $$
  with held as materialized (
    select a.generation_id, a.attempt from rowcall.attempts a
     where a.worker = renew_generations_v1.worker and a.generation_id = any (ids) and a.outcome is null
     order by a.generation_id for no key update skip locked),
  renewed as (
    update rowcall.attempts a set lease_until = now() + make_interval(secs => lease_s)
      from held h where a.generation_id = h.generation_id and a.attempt = h.attempt)
  select a.generation_id, a.attempt, coalesce(a.outcome, 'held') from rowcall.attempts a
   where a.worker = renew_generations_v1.worker and a.generation_id = any (ids)
     and (a.outcome is null or a.outcome in ('lost', 'canceled'))
$$;

-- checkpoint: the text so far, for clients that lost the stream. [{"id", "attempt", "partial", "offset"}] → the attempts that still run.
create function rowcall.checkpoint_generations_v1(checkpoints jsonb[]) returns table (id uuid, attempt integer)
language sql set search_path = '' as $$
  with given as (
    select c.* from unnest(checkpoints) e, jsonb_to_record(e) c (id uuid, attempt integer, partial text, "offset" integer)),
  mine as materialized (
    select a.generation_id, a.attempt from rowcall.attempts a join given g on g.id = a.generation_id and g.attempt = a.attempt
     where a.outcome is null order by a.generation_id for no key update of a)
  update rowcall.attempts a set partial = g.partial, partial_offset = g."offset"
    from given g join mine m on m.generation_id = g.id and m.attempt = g.attempt
   where a.generation_id = g.id and a.attempt = g.attempt
  returning a.generation_id, a.attempt
$$;

-- The answer into the column that an automation named; what kept it out, as {code, message}, or null. It writes as postgres: the asker need
-- not be allowed to update that column, and `target` can be written by rowcall.generate alone. search_path is the API's: triggers on the
-- user's table run inside this setting and may name tables without a schema.
-- The row is locked without waiting. Whoever updates many rows of the user's table holds some and waits for others; a finish that waited too,
-- while it holds what it has filled, would deadlock with him, and his long transaction would hold up every answer of the batch. 55P03 leaves
-- the generation running, and the worker finishes it again a little later.
-- The key and the column are cast to the table's own types one by one: a row of the whole type would need values for domains that are not null.
create function rowcall.fill_target(generation_id uuid, target jsonb, answer text, asked_at timestamptz) returns jsonb
language plpgsql security definer set search_path = public, extensions, pg_temp as $$
declare
  place       text := format('%I.%I', target ->> 'schema', target ->> 'table');
  relation    regclass := to_regclass(place);
  key_columns text;   -- 'id bigint, region text'
  same_key    text;
  column_type text;
  outer_hops  text := coalesce(current_setting('rowcall.hops', true), '');
  found_row   boolean;
  problem     text;
begin
  if exists (select from rowcall.generations g where g.target - 'hops' = fill_target.target - 'hops' and g.created_at > asked_at) then
    return jsonb_build_object('code', 'target.superseded', 'message', 'a newer generation fills this column');
  end if;
  if relation is null then
    return jsonb_build_object('code', 'target.failed', 'message', format('%s does not exist', place));
  end if;
  select string_agg(format('%I %s', a.attname, format_type(a.atttypid, a.atttypmod)), ', '), string_agg(format('t.%1$I = k.%1$I', a.attname), ' and ')
    into key_columns, same_key
    from pg_attribute a where a.attrelid = relation and a.attnum > 0 and not a.attisdropped and target -> 'key' ? a.attname::text;
  -- -1: no length, so that a text that is too long is refused by the assignment, not cut by the cast
  select format_type(a.atttypid, -1) into column_type
    from pg_attribute a where a.attrelid = relation and a.attnum > 0 and not a.attisdropped and a.attname = target ->> 'column';
  perform set_config('rowcall.hops', ((target ->> 'hops')::integer + 1)::text, true), set_config('rowcall.cause', generation_id::text, true);
  begin
    if column_type is null then
      raise exception '%.% does not exist', place, target ->> 'column';
    end if;
    execute format('select true from %s t, jsonb_to_record($1) k(%s) where %s for no key update of t nowait', place, key_columns, same_key)
      into found_row using target -> 'key';
    if found_row is null then
      raise exception '% has no row with that key any more', place;
    end if;
    execute format('update %s t set %I = $2::%s from jsonb_to_record($1) k(%s) where %s', place, target ->> 'column', column_type, key_columns, same_key)
      using target -> 'key', answer;
    set constraints all immediate;   -- what the table defers would otherwise fail at commit, and with it every answer of the batch
    set constraints rowcall.generations_3_notify deferred;   -- ours: one webhook for all that this transaction makes
  exception
    when lock_not_available or deadlock_detected or serialization_failure then
      raise lock_not_available using message = format('target.locked: a row of %s is locked', place);
    when others then   -- the target is the user's: a constraint of theirs must not lose the answer
      problem := format('%s (%s)', sqlerrm, sqlstate);
  end;
  perform set_config('rowcall.hops', outer_hops, true);
  return case when problem is not null then jsonb_build_object('code', 'target.failed', 'message', problem) end;
end $$;

-- `done` on the row's private topic, after commit. It can overtake deltas that went by HTTP: clients order by offset, and the row decides.
create function rowcall.send_done(generation_id uuid, attempt integer, status text) returns void
language plpgsql set search_path = '' as $$
begin
  perform realtime.send(jsonb_build_object('attempt', attempt, 'status', status), 'done', 'generation:' || generation_id, true);
exception when others then   -- the row's own update reaches clients too
  raise warning 'rowcall: done was not broadcast: % (%)', sqlerrm, sqlstate;
end $$;

-- finish, fail, refuse: running → succeeded, review | failed | refused.
-- results: [{"id", "attempt", "status", "answer", "output", "citations", "error", "route", "variant", "prompt_version", "tokens_in",
--   "tokens_cached", "tokens_out", "cost_usd", "first_token_at", "calls": [closings as in close_calls]}].
-- Answers for each, in order of id: accepted (false: the attempt was lost; its calls are booked all the same) and problem (why this row could
-- not be settled while the others were).
create function rowcall.finish_generations_v1(results jsonb[]) returns table (id uuid, attempt integer, accepted boolean, problem text)
language plpgsql set search_path = '' as $$
declare
  r record;
  g record;
  settled uuid[] := '{}';
  target_problem jsonb;
begin
  for r in
    select x.* from unnest(results) e, jsonb_to_record(e) x (id uuid, attempt integer, status text, answer text, output jsonb, citations jsonb,
           error jsonb, route text, variant text, prompt_version text, tokens_in integer, tokens_cached integer, tokens_out integer,
           cost_usd numeric, first_token_at timestamptz)
     order by x.id
  loop
    id := r.id; attempt := r.attempt; accepted := false; problem := null;
    begin   -- a subtransaction per row: what breaks one leaves the others
      if r.status is null or r.status not in ('succeeded', 'failed', 'refused', 'review') then
        raise exception 'status must be succeeded, failed, refused or review, not %', coalesce(r.status, 'null');
      end if;
      select t.target, t.created_at into g from rowcall.generations t
       where t.id = r.id and t.attempt = r.attempt and t.status = 'running' for no key update;
      if found then
        target_problem := case when r.status = 'succeeded' and g.target is not null then
                               rowcall.fill_target(r.id, g.target, coalesce(r.answer, r.output::text), g.created_at) end;
        update rowcall.generations t
           set status = r.status, answer = r.answer, output = r.output, citations = r.citations, route = r.route, variant = r.variant,
               error = coalesce(target_problem, r.error),
               prompt_version = r.prompt_version, tokens_in = r.tokens_in, tokens_cached = r.tokens_cached, tokens_out = r.tokens_out,
               cost_usd = r.cost_usd, first_token_at = r.first_token_at, finished_at = now()
         where t.id = r.id;
        update rowcall.attempts a set outcome = r.status, error = r.error, finished_at = now()
         where a.generation_id = r.id and a.attempt = r.attempt;
        perform rowcall.send_done(r.id, r.attempt, r.status);
        accepted := true;
      end if;
    exception when others then
      accepted := false;
      problem := format('%s (%s)', sqlerrm, sqlstate);
    end;
    if accepted then settled := settled || r.id; end if;
    return next;
  end loop;
  perform rowcall.close_calls((select array_agg(c) from unnest(results) e, jsonb_array_elements(coalesce(nullif(e -> 'calls', 'null'), '[]')) c),
                              settled);
end $$;

-- running → queued: shared by retry and release.
create function rowcall.requeue(entries jsonb[], outcome text, tries_back integer) returns table (id uuid, attempt integer)
language plpgsql set search_path = '' as $$
declare
  r record;
  settled uuid[] := '{}';
begin
  for r in
    select x.* from unnest(entries) e, jsonb_to_record(e) x (id uuid, attempt integer, wait_s double precision, error jsonb) order by x.id
  loop
    update rowcall.generations g
       set status = 'queued', run_at = now() + make_interval(secs => coalesce(r.wait_s, 0)), error = r.error, tries = g.tries - tries_back
     where g.id = r.id and g.attempt = r.attempt and g.status = 'running';
    if found then
      update rowcall.attempts a set outcome = requeue.outcome, error = r.error, finished_at = now()
       where a.generation_id = r.id and a.attempt = r.attempt;
      settled := settled || r.id;
      id := r.id; attempt := r.attempt;
      return next;
    end if;
  end loop;
  perform rowcall.close_calls((select array_agg(c) from unnest(entries) e, jsonb_array_elements(coalesce(nullif(e -> 'calls', 'null'), '[]')) c),
                              settled);
end $$;

-- retry: the attempt failed and another may succeed after wait_s seconds. [{"id", "attempt", "wait_s", "error", "calls"}] → those accepted
create function rowcall.retry_generations_v1(retries jsonb[]) returns table (id uuid, attempt integer)
language sql set search_path = '' as $$ select * from rowcall.requeue(retries, 'retried', 0) $$;

-- release: the worker stops and hands the attempt back; it does not count as a try. [{"id", "attempt", "calls"}] → those accepted
create function rowcall.release_generations_v1(releases jsonb[]) returns table (id uuid, attempt integer)
language sql set search_path = '' as $$ select * from rowcall.requeue(releases, 'released', 1) $$;

-- What should be in Redis: queued rows whose time came grace_s ago, and running rows whose lease ended; those that run elsewhere are left
-- alone. Oldest first, a page of max_rows after the row that is named (keyset), by the partial indexes: rows that have ended cost nothing.
create function rowcall.due_generations_v1(grace_s double precision, max_rows integer, after_at timestamptz default '-infinity',
                                           after_id uuid default '00000000-0000-0000-0000-000000000000')
returns table (id uuid, attempt integer, kind text, lane text, tenant text, due_at timestamptz)
language sql stable set search_path = '' as $$
  select d.* from (
    (select g.id, g.attempt, g.kind, g.lane, g.tenant, g.run_at as due_at from rowcall.generations g
      where g.status = 'queued' and g.run_at <= now() - make_interval(secs => grace_s) and (g.run_at, g.id) > (after_at, after_id)
      order by g.run_at, g.id limit max_rows)
    union all
    (select g.id, g.attempt, g.kind, g.lane, g.tenant, a.lease_until
       from (select a.generation_id, a.attempt, a.lease_until from rowcall.attempts a
              where a.outcome is null and a.lease_until <= now() and (a.lease_until, a.generation_id) > (after_at, after_id)
              order by a.lease_until, a.generation_id limit max_rows) a
       join rowcall.generations g on g.id = a.generation_id and g.attempt = a.attempt and g.status = 'running')) d
   order by d.due_at, d.id limit max_rows
$$;

-- cancel: queued, running → canceled. Answers those that were. The running attempt is fenced off; the text that it had checkpointed stays as
-- the answer. Its worker hears of it from its next renewal, and at once where webhooks arrive.
create function rowcall.cancel_generations_v1(ids uuid[]) returns setof uuid
language plpgsql set search_path = '' as $$
declare
  g       record;
  partial text;
  canceled uuid[] := '{}';
  stopped jsonb[];   -- hints: attempts that some worker should stop
begin
  for g in
    select r.id, r.attempt, r.kind, r.lane, r.tenant, r.status from rowcall.generations r
     where r.id = any (ids) and r.status in ('queued', 'running') order by r.id for no key update
  loop
    partial := null;
    update rowcall.attempts a set outcome = 'canceled', finished_at = now()
     where a.generation_id = g.id and a.attempt = g.attempt and a.outcome is null
    returning a.partial into partial;
    update rowcall.generations r set status = 'canceled', answer = partial, finished_at = now() where r.id = g.id;
    perform rowcall.send_done(g.id, g.attempt, 'canceled');
    if g.status = 'running' then
      stopped := stopped || jsonb_build_object('id', g.id, 'attempt', g.attempt, 'kind', g.kind, 'lane', g.lane, 'tenant', g.tenant);
    end if;
    canceled := canceled || g.id;
  end loop;
  perform rowcall.abandon_calls(canceled);
  perform rowcall.send_webhook('CANCEL', stopped);
  return query select unnest(canceled);
end $$;

-- The owner's way to end a row. True: canceled now; false: it had ended, or is not the caller's.
create function rowcall.cancel_generation(id uuid) returns boolean
language sql security definer set search_path = '' as $$
  select count(*) > 0 from rowcall.cancel_generations_v1(array(
    select g.id from rowcall.generations g where g.id = cancel_generation.id and g.user_id = auth.uid()))
$$;

-- The owner erases a row and everything about it; the ledger keeps its numbers.
create function rowcall.delete_generation(id uuid) returns boolean
language plpgsql security definer set search_path = '' as $$
begin
  perform from rowcall.generations g where g.id = delete_generation.id and g.user_id = auth.uid() for update;
  if not found then return false; end if;
  -- The cascade would take these in any order.
  perform from rowcall.attempts a where a.generation_id = delete_generation.id order by a.attempt for update;
  perform from rowcall.calls c where c.generation_id = delete_generation.id order by c.id for no key update;
  delete from rowcall.generations g where g.id = delete_generation.id;
  return true;
end $$;

-- How long ended work is kept; prune_v1 deletes what is older, at most max_rows of each table in one call.
create table rowcall.retention (
  table_name text     constraint retention_pkey primary key
                      constraint retention_table_name_check check (table_name in ('generations', 'calls', 'spend')),
  keep       interval not null constraint retention_keep_check check (keep >= interval '1 hour')
);
alter table rowcall.retention enable row level security;
revoke all on table rowcall.retention from public, anon, authenticated, service_role;
grant select, insert, update, delete on table rowcall.retention to service_role;
insert into rowcall.retention (table_name, keep) values ('generations', '90 days'), ('calls', '400 days'), ('spend', '400 days');

create function rowcall.prune_v1(max_rows integer) returns table (table_name text, deleted bigint)
language plpgsql set search_path = '' as $$
begin
  table_name := 'generations';
  delete from rowcall.generations g where g.id in (
    select o.id from rowcall.generations o
     where o.finished_at < now() - (select r.keep from rowcall.retention r where r.table_name = 'generations') order by o.finished_at limit max_rows);
  get diagnostics deleted = row_count; return next;
  table_name := 'calls';
  delete from rowcall.calls c where c.id in (
    select o.id from rowcall.calls o
     where o.created_at < now() - (select r.keep from rowcall.retention r where r.table_name = 'calls') order by o.created_at limit max_rows);
  get diagnostics deleted = row_count; return next;
  table_name := 'spend';
  delete from rowcall.spend s where s.day < (now() - (select r.keep from rowcall.retention r where r.table_name = 'spend'))::date;
  get diagnostics deleted = row_count; return next;
  table_name := 'answer_cache';
  delete from rowcall.answer_cache c where c.id in (
    select o.id from rowcall.answer_cache o where o.expires_at < now() order by o.expires_at limit max_rows);
  get diagnostics deleted = row_count; return next;
end $$;

revoke all on function rowcall.claim_generations_v1(uuid[], text, double precision, jsonb[], integer),
  rowcall.broken_off(uuid), rowcall.abandon_calls(uuid[]), rowcall.lose_attempts(uuid[], integer), rowcall.cancel_generations_v1(uuid[]), rowcall.renew_generations_v1(text, double precision, uuid[]),
  rowcall.checkpoint_generations_v1(jsonb[]), rowcall.fill_target(uuid, jsonb, text, timestamptz), rowcall.send_done(uuid, integer, text),
  rowcall.finish_generations_v1(jsonb[]), rowcall.requeue(jsonb[], text, integer), rowcall.retry_generations_v1(jsonb[]),
  rowcall.release_generations_v1(jsonb[]), rowcall.due_generations_v1(double precision, integer, timestamptz, uuid), rowcall.cancel_generation(uuid),
  rowcall.delete_generation(uuid), rowcall.prune_v1(integer)
  from public, anon, authenticated, service_role;
grant execute on function rowcall.claim_generations_v1(uuid[], text, double precision, jsonb[], integer),
  rowcall.broken_off(uuid), rowcall.abandon_calls(uuid[]), rowcall.lose_attempts(uuid[], integer), rowcall.cancel_generations_v1(uuid[]), rowcall.renew_generations_v1(text, double precision, uuid[]),
  rowcall.checkpoint_generations_v1(jsonb[]), rowcall.fill_target(uuid, jsonb, text, timestamptz), rowcall.send_done(uuid, integer, text),
  rowcall.finish_generations_v1(jsonb[]), rowcall.requeue(jsonb[], text, integer), rowcall.retry_generations_v1(jsonb[]),
  rowcall.release_generations_v1(jsonb[]), rowcall.due_generations_v1(double precision, integer, timestamptz, uuid), rowcall.prune_v1(integer)
  to service_role;
grant execute on function rowcall.cancel_generation(uuid), rowcall.delete_generation(uuid) to authenticated;
