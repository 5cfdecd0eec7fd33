-- What the Realtime server asks the database. Idempotent; runs as the superuser, after worker/local/sql/realtime.sql.
-- The functions take on other roles: nobody else may call them. Those that run policies set no search_path, because
-- functions that policies call may rely on the database's.

-- From here to the end of the transaction (or of the block that raises) we are who the claims say.
create or replace function realtime.become(claims jsonb) returns void language plpgsql as $$
begin
  perform set_config('request.jwt.claims', claims::text, true),
          set_config('request.jwt.claim.sub', coalesce(claims ->> 'sub', ''), true),
          set_config('request.jwt.claim.role', claims ->> 'role', true),
          set_config('role', claims ->> 'role', true);
end $$;

-- Returns when every snapshot taken from now on sees these transactions.
--
-- A commit is in the WAL, and so here, a moment before the transaction is taken off the list of those in progress. A
-- query in between does not see its rows: a visibility check would lose the event, and a client that reads the row
-- because of the event would find it unchanged.
create or replace function realtime.await_commits(xids bigint[]) returns void language plpgsql as $$
declare
  next_xid bigint := pg_snapshot_xmax(pg_current_snapshot())::text::bigint;
  full_xid bigint; -- the WAL's xid is the lower half
  deadline timestamptz := clock_timestamp() + interval '2 s';
begin
  for full_xid in select (next_xid >> 32 << 32) | xid from unnest(xids) xid loop
    if full_xid > next_xid + 2147483648 then -- from before the last wrap
      full_xid := full_xid - 4294967296;
    end if;
    while pg_xact_status(full_xid::text::xid8) = 'in progress' and clock_timestamp() < deadline loop
      perform pg_sleep(0.0002);
    end loop;
  end loop;
end $$;

-- The query for which of these primary keys (arrays of texts) have a row that one sees: their positions, from 0.
--
-- The keys stand in it as arrays of the columns' types: their number is known to the planner, and no cast is left in
-- the comparison. Under row security a comparison that is not leakproof, and a cast is not, must wait for the
-- policies: no index could be used, and they would be asked about every row of the table.
create or replace function realtime.looking_for(entity regclass, key_columns text[], keys jsonb) returns text
language sql stable as $$
  select format('select coalesce(array_agg(k.n::integer - 1), ''{}'') from rows from (%s) with ordinality k (%s, n)
                  where exists (select from %s r where %s)',
                string_agg(format('unnest(%L::%s[])',
                    array(select key ->> (c.n - 1)::integer from jsonb_array_elements(keys) with ordinality e (key, m)
                           order by m)::text,
                    format_type(a.atttypid, a.atttypmod)), ', ' order by c.n),
                string_agg(format('k%s', c.n), ', ' order by c.n),
                entity,
                string_agg(format('r.%I = k.k%s', c.name, c.n), ' and '))
    from unnest(key_columns) with ordinality c (name, n)
    join pg_attribute a on a.attrelid = entity and a.attname = c.name
$$;

-- The same for one key: true or false. Compared with constants, so that policies are asked about this row only.
create or replace function realtime.looking_for_one(entity regclass, key_columns text[], key jsonb) returns text
language sql stable as $$
  select format('select exists (select from %s r where %s)', entity,
                string_agg(format('r.%I = %L', c.name, key ->> (c.n - 1)::integer), ' and '))
    from unnest(key_columns) with ordinality c (name, n)
$$;

-- What each reader may see of the rows that these transactions changed: one row per element of `readers` (claims), in
-- order. `visible` and `failed` are positions in `keys` from 0; failed: a policy raised.
create or replace function realtime.reach(
  xids bigint[], entity regclass, key_columns text[], keys jsonb, readers jsonb[],
  out columns text[], out visible integer[], out failed integer[], out row_security boolean)
returns setof record language plpgsql as $$
declare
  claims   jsonb;
  reader   pg_roles;
  everyone integer[] := array(select generate_series(0, jsonb_array_length(keys) - 1));
  query    text := realtime.looking_for(entity, key_columns, keys);
  query_1  text;
  found_it boolean;
begin
  perform realtime.await_commits(xids);
  select relrowsecurity into row_security from pg_class where oid = entity;
  if not found then -- dropped since
    return;
  end if;
  foreach claims in array readers loop
    failed := '{}';
    select * into reader from pg_roles where rolname = claims ->> 'role'; -- a role that is gone may read no column
    columns := array(
      select attname from pg_attribute
       where attrelid = entity and attnum > 0 and not attisdropped
         and has_column_privilege(reader.oid, entity, attnum, 'select'));
    if not row_security or reader.rolbypassrls or reader.rolsuper then
      visible := everyone;
    elsif keys = '[]' or key_columns = '{}' or not key_columns <@ columns then
      visible := '{}';
    else
      begin
        perform realtime.become(claims);
        execute query into visible;
        perform set_config('role', 'none', true);
      exception when others then -- for the sake of the other rows, one by one
        visible := '{}';
        for n in 0 .. jsonb_array_length(keys) - 1 loop
          query_1 := realtime.looking_for_one(entity, key_columns, keys -> n);
          begin
            perform realtime.become(claims);
            execute query_1 into found_it;
            perform set_config('role', 'none', true);
            if found_it then
              visible := visible || n;
            end if;
          exception when others then
            failed := failed || n;
          end;
        end loop;
      end;
    end if;
    return next;
  end loop;
end $$;

-- May these claims read from, or send to, a private topic? As on hosted projects: a probe row, seen or inserted under
-- the policies of realtime.messages, and undone.
create or replace function realtime.authorize(action text, topic text, claims jsonb) returns boolean
language plpgsql as $$
declare
  probe   uuid := gen_random_uuid();
  allowed boolean := false;
begin
  if action = 'read' then
    insert into realtime.messages (id, topic, extension) values (probe, topic, 'broadcast');
  end if;
  perform set_config('realtime.topic', topic, true), realtime.become(claims);
  if action = 'read' then
    select exists (select from realtime.messages m where m.id = probe) into allowed;
  else
    insert into realtime.messages (id, topic, extension) values (probe, topic, 'broadcast');
    allowed := true;
  end if;
  raise exception using errcode = 'RT000'; -- undoes the probe, and the role; variables stay
exception
  when sqlstate 'RT000' then
    return allowed;
  when insufficient_privilege then
    return false;
end $$;

-- The operands of each filter as Postgres writes them for the column's type, and that type:
-- [{"type": 23, "operands": ["1"]}, …]. Raises, in the words of hosted projects, what is wrong with a filter
-- ([{"column", "op", "operand"}, …]) or with a column of `selected`.
create or replace function realtime.resolve_filters(entity regclass, claims jsonb, filters jsonb, selected text[])
returns jsonb language plpgsql as $$
declare
  wanted      jsonb;
  column_name text;
  type        oid;
  resolved    jsonb := '[]';
begin
  if not exists (select from pg_roles where rolname = claims ->> 'role') then
    raise exception 'role "%" does not exist', claims ->> 'role';
  end if;
  foreach column_name in array coalesce(selected, '{}') loop
    if realtime.selectable_type(entity, claims ->> 'role', column_name) is null then
      raise exception 'invalid column for select %', column_name;
    end if;
  end loop;
  for wanted in select * from jsonb_array_elements(filters) loop
    type := realtime.selectable_type(entity, claims ->> 'role', wanted ->> 'column');
    if type is null then
      raise exception 'invalid column for filter %', wanted ->> 'column';
    end if;
    resolved := resolved || jsonb_build_object('type', type::bigint, 'operands',
      realtime.operands(wanted ->> 'column', type, wanted ->> 'op', wanted ->> 'operand'));
  end loop;
  return resolved;
end $$;

-- Null: there is no such column, or this role may not read it.
create or replace function realtime.selectable_type(entity regclass, role text, column_name text) returns oid
language sql stable as $$
  select atttypid from pg_attribute
   where attrelid = entity and attname = column_name and attnum > 0 and not attisdropped
     and has_column_privilege(role, entity, attnum, 'select')
$$;

create or replace function realtime.operands(column_name text, type oid, op text, operand text) returns text[]
language plpgsql as $$
declare
  type_name text := format_type(type, -1); -- not ::regtype: it writes char(n) as `character`, which means char(1)
  rendered  text[];
begin
  if op = 'in' then
    execute format('select array(select case when v is not null then format(''%%s'', v) end from unnest($1::%s[]) v)', type_name)
       into rendered using operand;
    if cardinality(rendered) > 100 then
      raise exception 'too many values for `in` filter. Maximum 100';
    end if;
    return rendered;
  elsif op = 'is' then
    if operand not in ('null', 'true', 'false', 'unknown') then
      raise exception 'invalid value for is filter: must be null, true, false, or unknown';
    elsif operand <> 'null' and type <> 'boolean'::regtype then
      raise exception 'is % filter requires a boolean column, got %', operand, type_name;
    end if;
    return array[operand];
  elsif op in ('like', 'ilike', 'match', 'imatch') then
    perform realtime.require_operator(op, column_name, type_name, operand);
    return array[operand];
  end if;
  execute format('select array[format(''%%s'', $1::%s)]', type_name) into rendered using operand;
  perform realtime.require_operator(op, column_name, type_name, operand);
  return rendered;
end $$;

-- Tries the operator: the catalogue alone does not tell whether the parser would find one.
create or replace function realtime.require_operator(op text, column_name text, type_name text, operand text)
returns void language plpgsql as $$
declare
  symbols jsonb := '{"eq": "=", "neq": "<>", "lt": "<", "lte": "<=", "gt": ">", "gte": ">=", "match": "~",
    "imatch": "~*", "like": "like", "ilike": "ilike", "isdistinct": "is distinct from"}';
begin
  execute format('select $1::%1$s %2$s $1::%1$s', type_name, symbols ->> op) using operand;
exception when others then
  raise exception 'operator % is not supported on column % of type %: %', op, column_name, type_name, sqlerrm;
end $$;

do $$
declare
  ours regprocedure;
begin
  for ours in select oid from pg_proc where pronamespace = 'realtime'::regnamespace and proname in (
    'become', 'await_commits', 'looking_for', 'looking_for_one', 'reach', 'authorize', 'resolve_filters',
    'selectable_type', 'operands', 'require_operator')
  loop
    execute format('revoke all on function %s from public', ours);
  end loop;
end $$;
