-- The end of an attempt as one function: version 3 wrapped 1, and so did 2, which nobody calls any more.

drop function rowcall.finish_generations_v3(jsonb[]);
drop function rowcall.finish_generations_v2(jsonb[]);
drop function rowcall.finish_generations_v1(jsonb[]);
drop function rowcall.remember_answers_v2(jsonb[]);
drop function rowcall.remember_answers(jsonb[]);

-- Keeps answers that have just been finished, so that they can be given again; what breaks one entry leaves the others. Answers those that could
-- not be kept, and why: they have been given all the same. No version: only finish calls it.
create function rowcall.remember_answers(entries jsonb[]) returns table (id uuid, problem text)
language plpgsql set search_path = '' as $$
declare
  entry jsonb;
begin
  begin
    perform rowcall.keep_answers(entries);
    return;
  exception when others then
    problem := format('%s (%s)', sqlerrm, sqlstate);
  end;
  if cardinality(entries) = 1 then
    id := entries[1] ->> 'id';
    return next;
    return;
  end if;
  foreach entry in array entries loop
    return query select r.id, r.problem from rowcall.remember_answers(array[entry]) r;
  end loop;
end $$;

-- finish, fail, refuse: running → succeeded, review | failed | refused.
-- results: [{"id", "attempt", "status", "answer", "output", "citations", "error", "route", "variant", "prompt_version", "tokens_in",
--   "tokens_cached", "tokens_out", "cost_usd", "first_token_at", "calls": [closings as in close_calls], "reusable": the entry that the answer
--   makes in the cache (see keep_answers), without its id}].
-- Answers for each, in order of id: accepted (false: the attempt was lost; its calls are booked all the same), problem (why this row could not be
-- settled while the others were) and uncached (why its answer could not be kept in the cache).
create function rowcall.finish_generations_v4(results jsonb[])
returns table (id uuid, attempt integer, accepted boolean, problem text, uncached text)
language plpgsql set search_path = '' as $$
declare
  r record;
  g record;
  target_problem jsonb;
  settled  uuid[]  := '{}';
  reusable jsonb[] := '{}';
  answers  jsonb[] := '{}';
begin
  for r in
    select x.* from unnest(results) e, jsonb_to_record(e) x (id uuid, attempt integer, status text, answer text, output jsonb, citations jsonb,
           error jsonb, route text, variant text, prompt_version text, tokens_in integer, tokens_cached integer, tokens_out integer,
           cost_usd numeric, first_token_at timestamptz, reusable jsonb)
     order by x.id
  loop
    accepted := false; problem := null;
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
    if accepted and jsonb_typeof(r.reusable) = 'object' then reusable := reusable || (r.reusable || jsonb_build_object('id', r.id)); end if;
    answers := answers || jsonb_build_object('id', r.id, 'attempt', r.attempt, 'accepted', accepted, 'problem', problem);
  end loop;
  perform rowcall.close_calls((select array_agg(c) from unnest(results) e, jsonb_array_elements(coalesce(nullif(e -> 'calls', 'null'), '[]')) c),
                              settled);
  -- After the calls are booked: an entry holds what they took.
  return query
    select f.id, f.attempt, f.accepted, f.problem, u.problem
      from unnest(answers) a, jsonb_to_record(a) f (id uuid, attempt integer, accepted boolean, problem text)
      left join (select m.* from rowcall.remember_answers(reusable) m where reusable <> '{}') u on f.accepted and u.id = f.id
     order by f.id;
end $$;

revoke all on function rowcall.remember_answers(jsonb[]), rowcall.finish_generations_v4(jsonb[]) from public, anon, authenticated, service_role;
grant execute on function rowcall.remember_answers(jsonb[]), rowcall.finish_generations_v4(jsonb[]) to service_role;
