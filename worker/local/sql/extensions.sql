-- Schema extensions with pgvector, the reload signal after DDL, and the empty publication of a hosted project.

create schema if not exists extensions;
grant usage on schema extensions to public;
grant create on schema extensions to postgres;

-- Hosted projects let postgres create it. Plain Postgres does not (its control file is not marked trusted), so it
-- is there beforehand and a migration's `create extension if not exists vector` finds it.
create extension if not exists vector with schema extensions;

-- A row in the catalogue for an extension whose objects are ours: `create extension if not exists` then passes as it
-- does on a hosted project. (extension_control_path would do it properly, but Postgres 16 does not know it.)
create or replace function extensions.register_stand_in(name text, version text, home regnamespace)
returns void language sql set search_path = '' as $$
  insert into pg_catalog.pg_extension (oid, extname, extowner, extnamespace, extrelocatable, extversion)
  select pg_catalog.pg_nextoid('pg_catalog.pg_extension', 'oid', 'pg_catalog.pg_extension_oid_index'),
         name, 'supabase_admin'::regrole, home, false, version
   where not exists (select from pg_catalog.pg_extension e where e.extname = name);
$$;
revoke all on function extensions.register_stand_in(text, text, regnamespace) from public;

create or replace function extensions.pgrst_ddl_watch() returns event_trigger
language plpgsql set search_path = '' as $$
begin
  notify pgrst, 'reload schema';
end $$;

do $$
begin
  if not exists (select from pg_event_trigger where evtname = 'pgrst_ddl_watch') then
    create event trigger pgrst_ddl_watch on ddl_command_end execute function extensions.pgrst_ddl_watch();
    create event trigger pgrst_drop_watch on sql_drop execute function extensions.pgrst_ddl_watch();
  end if;
  if not exists (select from pg_publication where pubname = 'supabase_realtime') then
    create publication supabase_realtime;
    alter publication supabase_realtime owner to postgres; -- so that migrations may add tables to it
  end if;
end $$;
