-- The roles of a hosted project, no more able than there. Runs as the superuser supabase_admin at every start.

do $$
declare
  wanted text[][] := array[
    -- postgres runs migrations. It is no superuser: what needs one must fail here, not on the hosted project.
    ['postgres',               'login createdb createrole replication bypassrls'],
    ['anon',                   'nologin noinherit'],
    ['authenticated',          'nologin noinherit'],
    ['service_role',           'nologin noinherit bypassrls'],
    -- The gateway's login. noinherit: before it switches to an API role it may read no table of the user.
    ['authenticator',          'login noinherit'],
    ['supabase_realtime_admin', 'nologin noinherit']];
begin
  for i in 1 .. array_length(wanted, 1) loop
    if not exists (select from pg_roles where rolname = wanted[i][1]) then
      execute format('create role %I %s', wanted[i][1], wanted[i][2]);
    end if;
  end loop;
end $$;

grant anon, authenticated, service_role to authenticator;
grant anon, authenticated, service_role to postgres with admin option; -- `alter role anon set statement_timeout …`

alter role anon set statement_timeout = '3s';
alter role authenticated set statement_timeout = '8s';
alter role authenticator set statement_timeout = '8s';
alter role authenticator set lock_timeout = '8s';
alter role supabase_admin set search_path = "$user", public, extensions;

-- As on hosted projects postgres owns the database: it may create schemas, and owns public through pg_database_owner.
do $$
begin
  execute format('alter database %I owner to postgres', current_database());
  execute format('alter database %I set search_path to "$user", public, extensions', current_database());
end $$;
grant usage on schema public to anon, authenticated, service_role;
