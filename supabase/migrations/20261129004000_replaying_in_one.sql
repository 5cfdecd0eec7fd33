-- Replaying as one function: version 2 wrapped 1, and so did replay_dead_generations_v1, which nobody calls any more.

drop function rowcall.replay_dead_generations_v1(text, timestamptz, integer);
drop function rowcall.replay_generations_v1(uuid[]);

-- As before, in one: replay (failed, refused, review, canceled → queued, with all tries given back), and fill again. Each row's outcome is
-- replayed, filled, or null with the problem. In order of id.
create or replace function rowcall.replay_generations_v2(ids uuid[]) returns table (id uuid, outcome text, problem text)
language plpgsql set search_path = '' as $$
#variable_conflict use_column
declare
  g        rowcall.generations;
  again    uuid[] := '{}';
  replayed jsonb[];
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
  with moved as (
    update rowcall.generations r
       set status = 'queued', tries = 0, losses = 0, run_at = now(), finished_at = null, error = null, answer = null, output = null, citations = null
     where r.id = any (again)
    returning r.id, r.attempt, r.kind, r.lane, r.tenant)
  select array_agg(to_jsonb(m)) into replayed from moved m;
  perform rowcall.send_webhook('REPLAY', replayed);
end $$;
