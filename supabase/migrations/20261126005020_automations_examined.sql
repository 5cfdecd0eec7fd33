-- Whether automations can do what they are declared for, asked of the catalog: `rowcall doctor` and `rowcall automation list`. A declaration
-- that was right goes wrong when a column is renamed, and then it fails the writes that it is for.

-- A trigger's arguments. The catalog holds them as bytes, each ended by a zero byte: 'xx xx 00 '.
create function rowcall.trigger_arguments(trigger pg_catalog.pg_trigger) returns text[]
language sql stable set search_path = '' as $$
  select array_agg(convert_from(decode(replace(a, ' ', ''), 'hex'), 'UTF8') order by p)
    from unnest(string_to_array(regexp_replace(encode(trigger.tgargs, 'hex'), '(..)', '\1 ', 'g'), '00 ')) with ordinality x (a, p)
   where p <= trigger.tgnargs
$$;

-- What is wrong with an automation of that table, given as the arguments of rowcall.generate; null: nothing. Each check is the one that a write
-- would meet, on a row of nulls.
create function rowcall.automation_problem(relation regclass, arguments text[]) returns text
language plpgsql stable set search_path = '' as $$
declare
  automation jsonb;
  job        rowcall.kinds;
  record     jsonb := (select jsonb_object_agg(a.attname, null) from pg_catalog.pg_attribute a
                        where a.attrelid = relation and a.attnum > 0 and not a.attisdropped);
begin
  if record is null then return 'the table does not exist'; end if;
  automation := rowcall.read_automation(arguments);
  perform rowcall.target_of(relation, record, automation ->> 'column');
  perform rowcall.render_template(automation ->> 'template', record);
  if automation ->> 'owner' is not null and not record ? (automation ->> 'owner') then
    return format('table %s has no column %I to name the owner', relation, automation ->> 'owner');
  end if;
  select * into job from rowcall.kinds k where k.kind = automation ->> 'kind';
  return case
    when job.kind is null then format('there is no kind %s; rowcall.kinds has %s', automation ->> 'kind',
                                      (select string_agg(k.kind, ', ' order by k.kind) from rowcall.kinds k))
    when cardinality(job.required_input) <> 1 then format('kind %s needs %s of input, and a template gives one', job.kind, cardinality(job.required_input))
  end;
exception when sqlstate '22023' then
  return regexp_replace(sqlerrm, '^rowcall\.generate:? ', '');
end $$;

-- As automations_v1; `problem` also of the table's columns and of the kind.
create function rowcall.automations_v2() returns table (
  schema_name text, table_name text, trigger_name text, is_enabled boolean, definition text, kind text, template text, column_name text, problem text)
language sql stable security definer set search_path = '' as $$
  select n.nspname, c.relname, g.tgname, g.tgenabled <> 'D', pg_catalog.pg_get_triggerdef(g.oid, true), a.of[1], a.of[2], a.of[3],
         rowcall.automation_problem(g.tgrelid::regclass, a.of)
    from pg_catalog.pg_trigger g
    join pg_catalog.pg_class c on c.oid = g.tgrelid
    join pg_catalog.pg_namespace n on n.oid = c.relnamespace,
    lateral (select rowcall.trigger_arguments(g) as of) a
   where g.tgfoid = 'rowcall.generate()'::regprocedure and not g.tgisinternal and g.tgparentid = 0
   order by 1, 2, 3
$$;

-- The tables of rowcall.toml, [{"schema", "table", "arguments"}], and the Database Webhooks on them: what is wrong with the declaration, the
-- primary key, and for each webhook its address, whether it is on, and the challenge signed with the secret that it sends (examine_v1's proof;
-- null: it sends none). Answers in the order asked.
create function rowcall.examine_tables_v1(tables jsonb[], challenge text) returns table (
  schema_name text, table_name text, problem text, primary_key text[], webhooks jsonb)
language plpgsql stable security definer set search_path = '' as $$
declare
  asked    jsonb;
  relation regclass;
begin
  foreach asked in array tables loop
    schema_name := asked ->> 'schema'; table_name := asked ->> 'table';
    relation := to_regclass(format('%I.%I', schema_name, table_name));
    problem := rowcall.automation_problem(relation, array(select jsonb_array_elements_text(asked -> 'arguments')));
    primary_key := array(
      select a.attname::text from pg_catalog.pg_index i join pg_catalog.pg_attribute a on a.attrelid = i.indrelid and a.attnum = any (i.indkey)
       where i.indrelid = relation and i.indisprimary order by a.attname);
    webhooks := (
      select coalesce(jsonb_agg(jsonb_build_object('name', g.tgname, 'url', a.of[1], 'is_enabled', g.tgenabled <> 'D',
               'proof', (select rowcall.hmac_sha256('doctor.' || challenge, h.value) from jsonb_each_text(nullif(a.of[3], 'null')::jsonb) h
                          where lower(h.key) = 'x-rowcall-secret')) order by g.tgname), '[]')
        from pg_catalog.pg_trigger g, lateral (select rowcall.trigger_arguments(g) as of) a
       where g.tgrelid = relation and g.tgfoid = to_regprocedure('supabase_functions.http_request()') and not g.tgisinternal);
    return next;
  end loop;
end $$;

revoke all on function rowcall.trigger_arguments(pg_catalog.pg_trigger), rowcall.automation_problem(regclass, text[]), rowcall.automations_v2(),
  rowcall.examine_tables_v1(jsonb[], text) from public, anon, authenticated, service_role;
grant execute on function rowcall.automations_v2(), rowcall.examine_tables_v1(jsonb[], text) to service_role;
