-- Dead letters of automations. A generation may be born as refused (a limit, a text that is too large), or be answered while its column refuses
-- the answer: both are listed beside the rows that failed, and replayed where that can help. The kept answer fills its column again without
-- a model call.

-- What is listed, in one condition. Its index takes the place of the one on failed rows alone; dead_generations_v1 finds those by it too.
create index generations_dead_letters on rowcall.generations (finished_at desc, id desc)
  where status in ('failed', 'refused') or (status = 'succeeded' and error ->> 'code' = 'target.failed');
drop index rowcall.generations_dead;

-- The rows that want a person: failed, refused, or answered beside their column (status succeeded, code target.failed); latest first, without
-- what was asked. code null: of any code.
create function rowcall.dead_generations_v2(code text default null, max_rows integer default 100)
returns table (id uuid, kind text, lane text, tenant text, user_id uuid, status text, target text, error_code text, error_message text,
               attempt integer, tries integer, losses integer, created_at timestamptz, finished_at timestamptz)
language sql stable set search_path = '' as $$
  select g.id, g.kind, g.lane, g.tenant, g.user_id, g.status, g.target ->> 'schema' || '.' || (g.target ->> 'table') || '.' || (g.target ->> 'column'),
         g.error ->> 'code', g.error ->> 'message', g.attempt, g.tries, g.losses, g.created_at, g.finished_at
    from rowcall.generations g
   where (g.status in ('failed', 'refused') or (g.status = 'succeeded' and g.error ->> 'code' = 'target.failed'))
     and (dead_generations_v2.code is null or g.error ->> 'code' = dead_generations_v2.code)
   order by g.finished_at desc, g.id desc limit max_rows
$$;

-- A row that has succeeded changes in one way: the column that refused its answer takes it after all, or a newer generation's.
create or replace function rowcall.guard_generation() returns trigger
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
  if old.status = 'succeeded' and old.error ->> 'code' = 'target.failed' and to_jsonb(new) - 'error' = to_jsonb(old) - 'error' then
    return new;
  end if;
  if not rowcall.move_is_allowed(old.status, new.status) then
    raise sqlstate 'PT409' using message = format('status cannot move from %s to %s', old.status, new.status);
  end if;
  return new;
end $$;

-- Why a row cannot be replayed; null: it can.
create function rowcall.replay_problem(g rowcall.generations) returns text
language sql immutable set search_path = '' as $$
  select case
    when g.status in ('queued', 'running') then format('it has not ended: it is %s', g.status)
    when g.status = 'succeeded' and g.error ->> 'code' = 'target.failed' then null
    when g.status = 'succeeded' and g.error ->> 'code' = 'target.superseded' then 'it has succeeded, and a newer generation fills its column'
    when g.status = 'succeeded' then 'it has succeeded'
    -- Born as refused with less than was meant: what ran would be something else.
    when g.status = 'refused' and g.attempt = 0 and g.error ->> 'code' = 'input.too_large'
      then 'the row holds only the beginning of the text, which is too large: shorten it, or raise rowcall.limits input_bytes, and write the row again'
    when g.status = 'refused' and g.attempt = 0 and g.error ->> 'code' = 'automation.no_owner'
      then 'it would run in nobody''s name: give the row an owner that exists'
  end
$$;

-- The kept answer into its column: what keeps it out, or null.
create function rowcall.fill_again(g rowcall.generations) returns text
language plpgsql set search_path = '' as $$
declare
  problem jsonb;
begin
  problem := rowcall.fill_target(g.id, g.target, coalesce(g.answer, g.output::text), g.created_at);
  update rowcall.generations r set error = problem where r.id = g.id and r.error is distinct from problem;
  return problem ->> 'message';
exception when lock_not_available then
  return 'somebody is writing the row at this moment: try again';
end $$;

-- replay, and fill again: each row's outcome is replayed (it is queued, with all tries), filled, or null with the problem. In order of id.
create function rowcall.replay_generations_v2(ids uuid[]) returns table (id uuid, outcome text, problem text)
language plpgsql set search_path = '' as $$
#variable_conflict use_column
declare
  g        rowcall.generations;
  again    uuid[] := '{}';
begin
  for id in select distinct i from unnest(ids) i order by i loop
    outcome := null; problem := null;
    select r.* into g from rowcall.generations r where r.id = replay_generations_v2.id for no key update;
    if not found then
      problem := 'it does not exist';
    else
      problem := rowcall.replay_problem(g);
      if problem is null and g.status = 'succeeded' then
        problem := rowcall.fill_again(g);
        outcome := case when problem is null then 'filled' end;
      elsif problem is null then
        again := again || g.id;
        outcome := 'replayed';
      end if;
    end if;
    return next;
  end loop;
  perform rowcall.replay_generations_v1(again);
end $$;

-- The same for rows with that code that ended in a span of time: the oldest first, at most max_rows, after the row that is named (keyset).
-- Whoever calls until nothing is answered keeps `before`, else rows that fail again at once would be replayed without end.
create function rowcall.replay_dead_generations_v2(code text, before timestamptz, after_at timestamptz default '-infinity',
                                                   after_id uuid default '00000000-0000-0000-0000-000000000000', max_rows integer default 500)
returns table (id uuid, outcome text, problem text, finished_at timestamptz)
language sql set search_path = '' as $$
  with dead as materialized (
    select g.id, g.finished_at from rowcall.generations g
     where (g.status in ('failed', 'refused') or (g.status = 'succeeded' and g.error ->> 'code' = 'target.failed'))
       and g.error ->> 'code' = replay_dead_generations_v2.code
       and g.finished_at < before and (g.finished_at, g.id) > (after_at, after_id)
     order by g.finished_at, g.id limit max_rows)
  select r.id, r.outcome, r.problem, d.finished_at
    from rowcall.replay_generations_v2(array(select d.id from dead d)) r join dead d on d.id = r.id
   order by d.finished_at, d.id
$$;

revoke all on function rowcall.dead_generations_v2(text, integer), rowcall.replay_problem(rowcall.generations), rowcall.fill_again(rowcall.generations),
  rowcall.replay_generations_v2(uuid[]), rowcall.replay_dead_generations_v2(text, timestamptz, timestamptz, uuid, integer)
  from public, anon, authenticated, service_role;
grant execute on function rowcall.dead_generations_v2(text, integer), rowcall.replay_problem(rowcall.generations), rowcall.fill_again(rowcall.generations),
  rowcall.replay_generations_v2(uuid[]), rowcall.replay_dead_generations_v2(text, timestamptz, timestamptz, uuid, integer) to service_role;
