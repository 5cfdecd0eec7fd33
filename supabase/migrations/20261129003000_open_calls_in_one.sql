-- Ledger rows as one function: version 2 wrapped 1.

drop function rowcall.open_calls_v2(jsonb[]);
drop function rowcall.open_calls_v1(jsonb[]);

-- Ledger rows for calls that claim and context have not opened: [{"generation_id", "attempt", "purpose", "provider", "model", "route",
-- "reserved_usd", "instead_of"}]. instead_of: the row of a call that will not be made; it goes first, and its reservation with it.
-- One id for each, in the order given, or null and why: attempt.lost, limits.usd_per_tenant_and_day.
create function rowcall.open_calls_v3(opens jsonb[]) returns table (ordinal bigint, call_id uuid, problem text)
language plpgsql set search_path = '' as $$
declare
  generation rowcall.generations;
  opening    jsonb;
begin
  delete from rowcall.calls c
   where c.id in (select k.id from rowcall.calls k
                    join unnest(opens) o on k.id = (o ->> 'instead_of')::uuid and k.generation_id = (o ->> 'generation_id')::uuid
                   where k.status = 'open' order by k.id for update of k);
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
revoke all on function rowcall.open_calls_v3(jsonb[]) from public, anon, authenticated, service_role;
grant execute on function rowcall.open_calls_v3(jsonb[]) to service_role;
