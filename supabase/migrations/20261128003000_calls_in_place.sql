-- A row of the ledger may be opened before it is known who is asked: the claim opens one for the usual route, the context call for the chosen
-- one, and then another answers, which may cost more. Its own row takes the place of that one, with a reservation of its own.

-- As open_calls_v1. An opening may also hold "instead_of": the row of a call that will not be made. It goes first, and its reservation with it.
create function rowcall.open_calls_v2(opens jsonb[]) returns table (ordinal bigint, call_id uuid, problem text)
language plpgsql set search_path = '' as $$
begin
  delete from rowcall.calls c
   where c.id in (select k.id from rowcall.calls k
                    join unnest(opens) o on k.id = (o ->> 'instead_of')::uuid and k.generation_id = (o ->> 'generation_id')::uuid
                   where k.status = 'open' order by k.id for update of k);
  return query select o.ordinal, o.call_id, o.problem from rowcall.open_calls_v1(opens) o;
end $$;
revoke all on function rowcall.open_calls_v2(jsonb[]) from public, anon, authenticated, service_role;
grant execute on function rowcall.open_calls_v2(jsonb[]) to service_role;
