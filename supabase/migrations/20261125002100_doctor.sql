-- What `rowcall doctor` looks at inside the database, with the secret key. It changes nothing, but for one empty webhook that it sends.

-- Settings and grants as they are now; whether they are as they should be is judged in worker/doctor. DEFINER: the key's role may read neither
-- the vault nor the history of migrations. Secrets stay inside: `proof` is an HMAC of the caller's challenge, under a prefix that no webhook
-- has (theirs is a number), so it signs nothing.
create function rowcall.examine_v1(challenge text) returns jsonb
language plpgsql security definer set search_path = '' as $$
declare
  applied  text[];
  url      text;
  secret   text;
  no_vault text;
begin
  if to_regclass('supabase_migrations.schema_migrations') is not null then
    execute 'select array_agg(m.version::text order by m.version) from supabase_migrations.schema_migrations m' into applied;
  end if;
  begin
    select max(s.decrypted_secret) filter (where s.name = 'rowcall_webhook_url'),
           split_part(max(s.decrypted_secret) filter (where s.name = 'rowcall_webhook_secret'), ',', 1)
      into url, secret
      from vault.decrypted_secrets s where s.name in ('rowcall_webhook_url', 'rowcall_webhook_secret');
  exception when others then   -- a project without the vault: a finding, not the end of the examination
    no_vault := format('%s (%s)', sqlerrm, sqlstate);
  end;
  return jsonb_build_object(
    'at', clock_timestamp(),
    'postgres', current_setting('server_version'),
    'migrations', to_jsonb(applied),
    'extensions', (select coalesce(jsonb_object_agg(e.extname, e.extversion), '{}') from pg_catalog.pg_extension e
                    where e.extname in ('vector', 'pg_net')),
    'without_rls', to_jsonb(array(
      select c.relname from pg_catalog.pg_class c
       where c.relnamespace = 'rowcall'::regnamespace and c.relkind in ('r', 'p') and not c.relrowsecurity order by 1)),
    'open_to_clients', to_jsonb(array(
      select distinct p.proname from pg_catalog.pg_proc p, unnest(array['anon', 'authenticated']) r
       where p.pronamespace = 'rowcall'::regnamespace and has_function_privilege(r, p.oid, 'execute') order by 1)),
    'may_update', to_jsonb(array(
      select r from unnest(array['anon', 'authenticated']) r where has_any_column_privilege(r, 'rowcall.generations', 'update') order by 1)),
    'is_published', exists (select from pg_catalog.pg_publication_tables t
      where t.pubname = 'supabase_realtime' and t.schemaname = 'rowcall' and t.tablename = 'generations'),
    'may_listen', exists (select from pg_catalog.pg_policies p where p.schemaname = 'realtime' and p.tablename = 'messages'
      and p.policyname = 'rowcall: listen to readable generations'),
    'may_speak', (select coalesce(jsonb_agg(jsonb_build_object('policy', p.policyname,
                    'narrowed', coalesce(p.with_check, p.qual, '') like '%topic%') order by p.policyname), '[]')
       from pg_catalog.pg_policies p
      where p.schemaname = 'realtime' and p.tablename = 'messages' and p.cmd in ('INSERT', 'ALL')
        and p.roles && array['anon', 'authenticated', 'public']::name[]),
    'vault_problem', no_vault,
    'webhook_url', nullif(url, ''),
    'has_webhook_secret', coalesce(secret, '') <> '',
    'proof', rowcall.hmac_sha256('doctor.' || challenge, nullif(secret, '')));
end $$;

-- Generations of others that a signed-in stranger would see: 0, or row level security does not bite. INVOKER: inside a definer the role cannot
-- be changed.
create function rowcall.visible_to_strangers_v1() returns bigint
language plpgsql set search_path = public, extensions as $$
declare
  caller text := current_user;
  seen   bigint;
begin
  perform rowcall.become('00000000-0000-4000-8000-000000000000', '{}');
  seen := (select count(*) from (select from rowcall.generations limit 1) g);
  perform set_config('role', caller, true);
  return seen;
end $$;

-- Sends an empty webhook to the address in the vault, signed as every other; its number, for webhook_response_v1. Null: no address.
create function rowcall.probe_webhook_v1() returns bigint
language plpgsql security definer set search_path = '' as $$
declare
  url    text;
  secret text;
  stamp  text  := floor(extract(epoch from clock_timestamp()))::bigint::text;
  body   jsonb := '{"type": "INSERT", "schema": "rowcall", "table": "generations", "rows": []}';
begin
  select max(s.decrypted_secret) filter (where s.name = 'rowcall_webhook_url'),
         split_part(max(s.decrypted_secret) filter (where s.name = 'rowcall_webhook_secret'), ',', 1)
    into url, secret
    from vault.decrypted_secrets s where s.name in ('rowcall_webhook_url', 'rowcall_webhook_secret');
  if coalesce(url, '') = '' or coalesce(secret, '') = '' then return null; end if;
  return net.http_post(url := url, body := body, timeout_milliseconds := 5000, headers := jsonb_build_object(
    'Content-Type', 'application/json',
    'X-Rowcall-Signature', 't=' || stamp || ',v1=' || rowcall.hmac_sha256(stamp || '.' || body::text, secret)));
end $$;

-- What became of it: null while pg_net has not heard, else {status_code, error}.
create function rowcall.webhook_response_v1(request_id bigint) returns jsonb
language sql stable security definer set search_path = '' as $$
  select jsonb_build_object('status_code', r.status_code,
                            'error', coalesce(r.error_msg, case when r.timed_out then 'no answer within 5 s' end))
    from net._http_response r where r.id = request_id
$$;

revoke all on function rowcall.examine_v1(text), rowcall.visible_to_strangers_v1(), rowcall.probe_webhook_v1(), rowcall.webhook_response_v1(bigint)
  from public, anon, authenticated, service_role;
grant execute on function rowcall.examine_v1(text), rowcall.visible_to_strangers_v1(), rowcall.probe_webhook_v1(),
  rowcall.webhook_response_v1(bigint) to service_role;
