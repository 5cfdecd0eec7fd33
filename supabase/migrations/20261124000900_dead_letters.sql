-- Rows that failed for good stay where they are: the table is its own dead letter queue. An operator lists them and replays them, by
-- their ids (replay_generations_v1) or by the code of their error.

create index generations_dead on rowcall.generations (finished_at desc) where status = 'failed';

-- The failed rows, latest first, without what was asked. code null: of any code. Pages: the next one ends before the last finished_at seen.
create function rowcall.dead_generations_v1(code text default null, before timestamptz default 'infinity', max_rows integer default 100)
returns table (id uuid, kind text, lane text, tenant text, user_id uuid, error_code text, error_message text, attempt integer, tries integer,
               losses integer, created_at timestamptz, finished_at timestamptz)
language sql stable set search_path = '' as $$
  select g.id, g.kind, g.lane, g.tenant, g.user_id, g.error ->> 'code', g.error ->> 'message', g.attempt, g.tries, g.losses,
         g.created_at, g.finished_at
    from rowcall.generations g
   where g.status = 'failed' and g.finished_at < dead_generations_v1.before
     and (dead_generations_v1.code is null or g.error ->> 'code' = dead_generations_v1.code)
   order by g.finished_at desc limit max_rows
$$;

-- replay by code: failed rows that ended before a moment → queued, the oldest first, at most max_rows in one call. Answers their ids. Whoever
-- calls until none is left keeps `before`, else rows that fail again at once would be replayed without end.
create function rowcall.replay_dead_generations_v1(code text, before timestamptz, max_rows integer default 500) returns setof uuid
language sql set search_path = '' as $$
  select rowcall.replay_generations_v1(array(
    select g.id from rowcall.generations g
     where g.status = 'failed' and g.error ->> 'code' = replay_dead_generations_v1.code
       and g.finished_at < replay_dead_generations_v1.before
     order by g.finished_at limit max_rows))
$$;

revoke all on function rowcall.dead_generations_v1(text, timestamptz, integer), rowcall.replay_dead_generations_v1(text, timestamptz, integer)
  from public, anon, authenticated, service_role;
grant execute on function rowcall.dead_generations_v1(text, timestamptz, integer),
  rowcall.replay_dead_generations_v1(text, timestamptz, integer) to service_role;
