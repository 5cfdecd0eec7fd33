-- A row that is born running, as the claimant's: for `rowcall eval`, whose rows no other worker may answer by another configuration.
-- born: [{"claims", "kind", "input", "options"}], one. claims: the owner's, from a token of his; {} makes a row that is nobody's.
-- Answers as claim_generations_v1.
create function rowcall.begin_generation_v1(born jsonb[], worker text, lease_s double precision, opens jsonb[] default '{}')
returns table (id uuid, attempt integer, tries integer, user_id uuid, tenant text, kind text, lane text, input jsonb, options jsonb,
               created_at timestamptz, call_id uuid, status text, broken_off jsonb, budget_left_share double precision)
language plpgsql set search_path = '' as $$
#variable_conflict use_column
declare
  claims jsonb  := born[1] -> 'claims';
  outer_claims text := coalesce(current_setting('request.jwt.claims', true), '');
  outer_sub    text := coalesce(current_setting('request.jwt.claim.sub', true), '');
  begun  uuid;
begin
  perform set_config('request.jwt.claims', claims::text, true),
          set_config('request.jwt.claim.sub', coalesce(claims ->> 'sub', ''), true);   -- @supabase/lite's auth.uid() reads only this one
  insert into rowcall.generations (user_id, kind, input, options)
  values ((claims ->> 'sub')::uuid, born[1] ->> 'kind', born[1] -> 'input', born[1] -> 'options')
  returning generations.id into begun;
  perform set_config('request.jwt.claims', outer_claims, true), set_config('request.jwt.claim.sub', outer_sub, true);
  return query select * from rowcall.claim_generations_v1(array[begun], worker, lease_s, opens);
end $$;
revoke all on function rowcall.begin_generation_v1(jsonb[], text, double precision, jsonb[]) from public, anon, authenticated, service_role;
grant execute on function rowcall.begin_generation_v1(jsonb[], text, double precision, jsonb[]) to service_role;
