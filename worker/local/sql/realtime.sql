-- The part of schema realtime that migrations and triggers touch. The Realtime server adds what only it needs.

create schema if not exists realtime;

-- Messages sent by the database; also what policies on private channels are written for.
create table if not exists realtime.messages (
  id          uuid not null default gen_random_uuid(),
  topic       text not null,
  extension   text not null,
  event       text,
  payload     jsonb,
  private     boolean not null default false,
  inserted_at timestamp not null default now(),
  updated_at  timestamp not null default now(),
  primary key (id, inserted_at) -- hosted partitions by day
);
alter table realtime.messages enable row level security;

-- As on hosted projects: postgres may write policies for the table because it belongs to a role that postgres is a
-- member of. That role may not create anything in the schema, so neither may postgres.
alter table realtime.messages owner to supabase_realtime_admin;
grant supabase_realtime_admin to postgres;
grant usage on schema realtime to postgres, supabase_realtime_admin, anon, authenticated, service_role;
grant select, insert, update on realtime.messages to postgres, anon, authenticated, service_role;

delete from realtime.messages where inserted_at < now() - interval '72 hours'; -- hosted drops old partitions

do $$
begin
  if not exists (select from pg_publication where pubname = 'supabase_realtime_messages_publication') then
    create publication supabase_realtime_messages_publication for table realtime.messages with (publish = 'insert');
  end if;
end $$;

-- The topic that a policy on realtime.messages is being asked about.
create or replace function realtime.topic() returns text language sql stable as $$
  select nullif(current_setting('realtime.topic', true), '')::text
$$;

-- Sends to everyone on the topic, after commit. As on hosted projects a failure is a warning and never costs the
-- caller its transaction.
create or replace function realtime.send(payload jsonb, event text, topic text, private boolean default true)
returns void language plpgsql as $$
declare
  message_id uuid := gen_random_uuid();
begin
  perform set_config('realtime.topic', topic, true);
  insert into realtime.messages (id, topic, extension, event, payload, private)
  values (message_id, topic, 'broadcast', event,
          case when payload ? 'id' then payload else payload || jsonb_build_object('id', message_id) end, private);
exception when others then
  raise warning 'ErrorSendingBroadcastMessage: %', sqlerrm;
end $$;
