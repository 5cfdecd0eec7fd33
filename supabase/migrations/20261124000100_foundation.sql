-- The schema, what may be refused at the door (limits, kinds), and the functions that say who owns a row.
-- Runs as the role `postgres` (no superuser), on a hosted project and on the embedded stack alike.

create extension if not exists vector with schema extensions;
do $$ begin
  create extension if not exists pg_net with schema extensions;
exception when others then   -- without it no webhook is sent; the sweeper finds the rows
  raise warning 'rowcall: pg_net is not available: % (%)', sqlerrm, sqlstate;
end $$;

create schema if not exists rowcall;
revoke all on schema rowcall from public;
grant usage on schema rowcall to anon, authenticated, service_role;

-- Numbers that an operator changes with an update; read when a row is inserted.
create table rowcall.limits (
  name        text    constraint limits_pkey primary key,
  value       numeric not null constraint limits_value_check check (value >= 0),
  description text    not null
);
alter table rowcall.limits enable row level security;
revoke all on table rowcall.limits from public, anon, authenticated, service_role;
grant select, insert, update, delete on table rowcall.limits to service_role;

insert into rowcall.limits (name, value, description) values
  ('unfinished_per_owner',           1000,     'queued and running generations of one owner, checked when a client inserts'),
  ('unfinished_per_owner_automatic', 10000,    'the same, checked when a document or an automation makes a generation'),
  ('usd_per_tenant_and_day',         10,       'spent by one tenant since midnight UTC, in US dollars; at or above it nothing new is accepted'),
  ('input_bytes',                    262144,   'size of generations.input as text'),
  ('input_depth',                    8,        'nesting of generations.input'),
  ('document_bytes',                 4194304,  'size of documents.content');

-- The jobs that exist. A row may be inserted for a kind only if the kind stands here.
create table rowcall.kinds (
  kind           text    constraint kinds_pkey primary key constraint kinds_kind_check check (kind ~ '^[a-z][a-z0-9_]{0,62}$'),
  by_clients     boolean not null,                -- may a signed-in user insert it?
  required_input text[]  not null default '{}',   -- keys that input must carry as non-empty text
  lane           text    not null default 'interactive' constraint kinds_lane_check check (lane in ('interactive', 'bulk'))
);
alter table rowcall.kinds enable row level security;
revoke all on table rowcall.kinds from public, anon, authenticated, service_role;
grant select, insert, update, delete on table rowcall.kinds to service_role;

insert into rowcall.kinds (kind, by_clients, required_input, lane) values
  ('answer', true,  '{question}',    'interactive'),
  ('ingest', false, '{document_id}', 'bulk');

-- The tenant that a token belongs to. Replace this function (create or replace) where tenants are named otherwise.
create function rowcall.tenant_of(claims jsonb) returns text
language sql immutable parallel safe set search_path = '' as $$
  select coalesce(claims -> 'app_metadata' ->> 'tenant_id', claims ->> 'sub')
$$;

-- The claims under which work for `owner` runs: the inserting transaction's own token if it is the owner's, else the least that names him.
-- Custom claims stay, since policies may ask for them; what says when the token was made goes.
create function rowcall.claims_for(owner uuid) returns jsonb
language sql stable set search_path = '' as $$
  select case
    when owner is null then '{"role": "anon"}'::jsonb
    when owner = auth.uid() then coalesce(auth.jwt(), '{}') - array['exp', 'iat', 'nbf', 'jti']
                                 || jsonb_build_object('sub', owner, 'role', 'authenticated')
    else jsonb_build_object('sub', owner, 'role', 'authenticated')
  end
$$;

-- Whether the statement runs for a client. Trusted are only the roles that a browser can never have.
-- An INVOKER function: inside a definer the answer would always be no.
create function rowcall.runs_for_client() returns boolean
language sql stable set search_path = '' as $$
  select current_user not in ('postgres', 'service_role', 'supabase_admin')
$$;

revoke all on function rowcall.tenant_of(jsonb), rowcall.claims_for(uuid), rowcall.runs_for_client()
  from public, anon, authenticated, service_role;
-- Triggers call these as whoever inserts. They tell a caller only about his own token.
grant execute on function rowcall.tenant_of(jsonb), rowcall.claims_for(uuid), rowcall.runs_for_client()
  to authenticated, service_role;
