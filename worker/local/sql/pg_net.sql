-- pg_net's shape (0.20): requests are queued in the caller's transaction and sent, at most once, after its commit.
-- Its background worker is a process of the stack that listens for `net_wake` (pg_net.mjs).

create schema if not exists net;

do $$
begin
  if to_regtype('net.http_method') is null then
    create domain net.http_method as text check (upper(value) in ('GET', 'POST', 'DELETE'));
    create type net.request_status as enum ('PENDING', 'SUCCESS', 'ERROR');
    create type net.http_response as (status_code integer, headers jsonb, body text);
    create type net.http_response_result as (status net.request_status, message text, response net.http_response);
  end if;
end $$;

-- Unlogged as in the original: a crash of Postgres empties both. The row in the user's table is the outbox.
create unlogged table if not exists net.http_request_queue (
  id                   bigserial,
  method               net.http_method not null,
  url                  text not null,
  headers              jsonb,
  body                 bytea,
  timeout_milliseconds integer not null
);
create unlogged table if not exists net._http_response (
  id           bigint,
  status_code  integer,
  content_type text,
  headers      jsonb,
  content      text,
  timed_out    boolean,
  error_msg    text,
  created      timestamptz not null default now()
);
create index if not exists _http_response_created_idx on net._http_response (created);

create or replace function net._urlencode_string(string text) returns text
language sql immutable strict set search_path = '' as $$
  select coalesce(string_agg(
           case when chr(byte) ~ '[A-Za-z0-9_.~-]' and byte < 128 then chr(byte)
                else '%' || upper(lpad(to_hex(byte), 2, '0')) end, '' order by n), '')
    from convert_to(string, 'UTF8') as bytes,
         generate_series(0, length(bytes) - 1) as n,
         get_byte(bytes, n) as byte
$$;

create or replace function net._with_params(url text, params jsonb) returns text
language sql immutable set search_path = '' as $$
  select url || coalesce(
    (select case when position('?' in url) > 0 then '&' else '?' end
            || string_agg(net._urlencode_string(key) || '=' || net._urlencode_string(value), '&')
       from jsonb_each_text(params)), '')
$$;

create or replace function net._wake() returns trigger language plpgsql set search_path = '' as $$
begin
  perform pg_notify('net_wake', '');
  return null;
end $$;

create or replace trigger wake after insert on net.http_request_queue
  for each statement execute function net._wake();

create or replace function net.http_get(
  url text, params jsonb default '{}', headers jsonb default '{}', timeout_milliseconds integer default 5000)
returns bigint language sql security definer set search_path = '' as $$
  insert into net.http_request_queue (method, url, headers, timeout_milliseconds)
  values ('GET', net._with_params(url, params), headers, timeout_milliseconds) returning id
$$;

create or replace function net.http_delete(
  url text, params jsonb default '{}', headers jsonb default '{}', timeout_milliseconds integer default 5000,
  body jsonb default null)
returns bigint language sql security definer set search_path = '' as $$
  insert into net.http_request_queue (method, url, headers, body, timeout_milliseconds)
  values ('DELETE', net._with_params(url, params), headers, convert_to(body::text, 'UTF8'), timeout_milliseconds)
  returning id
$$;

create or replace function net.http_post(
  url text, body jsonb default '{}', params jsonb default '{}',
  headers jsonb default '{"Content-Type": "application/json"}', timeout_milliseconds integer default 5000)
returns bigint language plpgsql security definer set search_path = '' as $$
declare
  content_type text := (select h.value from jsonb_each_text(headers) h where lower(h.key) = 'content-type' limit 1);
  request_id   bigint;
begin
  if content_type is null then
    headers := coalesce(headers, '{}') || '{"Content-Type": "application/json"}';
  elsif content_type <> 'application/json' then
    raise exception 'Content-Type header must be "application/json"';
  end if;
  insert into net.http_request_queue (method, url, headers, body, timeout_milliseconds)
  values ('POST', net._with_params(url, params), headers, convert_to(body::text, 'UTF8'), timeout_milliseconds)
  returning id into request_id;
  return request_id;
end $$;

create or replace function net.http_collect_response(request_id bigint, async boolean default true)
returns net.http_response_result language plpgsql set search_path = '' as $$
declare
  found_row net._http_response;
begin
  loop
    select * into found_row from net._http_response r where r.id = request_id;
    exit when found or async;
    perform pg_sleep(0.05);
  end loop;
  if found_row.id is null then
    return ('ERROR', 'request matching request_id not found', null)::net.http_response_result;
  end if;
  return ('SUCCESS', 'ok', (found_row.status_code, found_row.headers, found_row.content)::net.http_response)::net.http_response_result;
end $$;

grant usage on schema net to postgres, anon, authenticated, service_role;
grant execute on all functions in schema net to postgres, anon, authenticated, service_role;
grant select on net._http_response, net.http_request_queue to postgres;

select extensions.register_stand_in('pg_net', '0.20.0', 'extensions');
