-- After @supabase/lite has made its auth schema: who may use it, and identity as hosted projects define it.

grant usage on schema auth to postgres, anon, authenticated, service_role, authenticator;
grant all on all tables in schema auth to postgres, authenticator; -- the gateway is the auth server here
grant usage, select on all sequences in schema auth to postgres, authenticator;

-- lite's auth.uid() knows only the single-claim setting; hosted reads both.
create or replace function auth.uid() returns uuid language sql stable as $$
  select coalesce(
    nullif(current_setting('request.jwt.claim.sub', true), ''),
    nullif(current_setting('request.jwt.claims', true), '')::jsonb ->> 'sub')::uuid
$$;

create or replace function auth.role() returns text language sql stable as $$
  select coalesce(
    nullif(current_setting('request.jwt.claim.role', true), ''),
    nullif(current_setting('request.jwt.claims', true), '')::jsonb ->> 'role')
$$;

create or replace function auth.email() returns text language sql stable as $$
  select coalesce(
    nullif(current_setting('request.jwt.claim.email', true), ''),
    nullif(current_setting('request.jwt.claims', true), '')::jsonb ->> 'email')
$$;
