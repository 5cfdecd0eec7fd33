-- What the dashboard's Database Webhooks install: a trigger function that posts the changed row.

create schema if not exists supabase_functions;

create table if not exists supabase_functions.hooks (
  id            bigserial primary key,
  hook_table_id integer not null,
  hook_name     text not null,
  created_at    timestamptz not null default now(),
  request_id    bigint
);

-- Trigger arguments: url, method, headers, params, timeout in ms; the text 'null' stands for a missing one.
create or replace function supabase_functions.http_request() returns trigger
language plpgsql security definer set search_path = '' as $$
declare
  arguments  text[] := array(select nullif(a, 'null') from unnest(tg_argv) with ordinality u (a, n) order by n);
  url        text := arguments[1];
  method     text := arguments[2];
  headers    jsonb := coalesce(arguments[3], '{"Content-Type": "application/json"}')::jsonb;
  params     jsonb := coalesce(arguments[4], '{}')::jsonb;
  timeout_ms integer := coalesce(arguments[5], '1000')::integer;
  request_id bigint;
begin
  if url is null then
    raise exception 'url argument is missing';
  end if;
  if method = 'GET' then
    request_id := net.http_get(url, params, headers, timeout_ms);
  elsif method = 'POST' then
    request_id := net.http_post(url, jsonb_build_object(
      'type', tg_op, 'table', tg_table_name, 'schema', tg_table_schema,
      'record', case when tg_op = 'DELETE' then null else to_jsonb(new) end,
      'old_record', case when tg_op = 'INSERT' then null else to_jsonb(old) end), params, headers, timeout_ms);
  else
    raise exception 'method argument % is invalid', coalesce(method, 'is missing');
  end if;
  insert into supabase_functions.hooks (hook_table_id, hook_name, request_id)
  values (tg_relid, tg_name, request_id);
  return coalesce(new, old);
end $$;

revoke all on function supabase_functions.http_request() from public;
grant usage on schema supabase_functions to postgres, anon, authenticated, service_role;
grant execute on function supabase_functions.http_request() to postgres, anon, authenticated, service_role;
