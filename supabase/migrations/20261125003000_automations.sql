-- Automations: a column of the project's own table is filled when a row appears.
--   create trigger summarize after insert or update of body on public.posts for each row when (new.body <> '')
--     execute function rowcall.generate('complete', 'Summarize in one sentence: {{body}}', 'summary', 'owner=author_id');
-- The user's own write makes the generation, in the same transaction; the transaction that finishes it fills the column (rowcall.fill_target).
-- A mistake in the declaration fails the write, and says so: it shows at the first row. Whatever depends on the row's values or on limits does
-- not: the write stands, and the generation is born as refused, to be seen and replayed.

-- A prompt and what the model makes of it, without documents. Clients may not insert it: it would be an open model at the project's expense.
insert into rowcall.kinds (kind, by_clients, required_input, lane) values ('complete', false, '{prompt}', 'bulk');
insert into rowcall.limits (name, value, description) values
  ('automation_hops', 3, 'automations in a chain, each started by the column that the one before has filled'),
  ('automation_per_row_and_hour', 30, 'generations of one row and column in an hour that Database Webhooks make');

-- All generations of one target: whether a newer one fills it.
create index generations_target on rowcall.generations ((target - 'hops'), created_at) where target is not null;

-- The text with each {{column}} replaced by the row's value, '' for null. One pass: a value that looks like a placeholder is text.
create function rowcall.render_template(template text, record jsonb) returns text
language plpgsql immutable set search_path = '' as $$
declare
  placeholder constant text := '\{\{\s*([^{}]*[^{}\s])\s*\}\}';
  literals    text[] := regexp_split_to_array(template, placeholder);
  result      text := literals[1];
  place       integer := 1;
  name        text;
begin
  for name in select m[1] from regexp_matches(template, placeholder, 'g') m loop
    if not record ? name then
      raise sqlstate '22023' using message = format('rowcall.generate: the template names {{%s}}, which is no column of the table', name);
    end if;
    place := place + 1;
    result := result || coalesce(record ->> name, '') || literals[place];
  end loop;
  return result;
end $$;

-- A trigger's arguments as {kind, template, column, owner, lane, options}. Raises 22023 with what is wrong.
create function rowcall.read_automation(arguments text[]) returns jsonb
language plpgsql immutable set search_path = '' as $$
declare
  known   constant text[] := '{owner,lane,quality,max_output_tokens}';
  parts   text[] := (select array_agg(a order by n) from unnest(arguments) with ordinality x (a, n));   -- from 1, wherever they began
  setting text;
  given   jsonb := '{}';
  problem text;
begin
  if coalesce(array_length(parts, 1), 0) < 3 then
    raise sqlstate '22023' using message = 'rowcall.generate needs (kind, template, column), and then settings like ''owner=user_id''';
  end if;
  foreach setting in array parts[4:] loop
    if split_part(setting, '=', 1) <> all (known) or strpos(setting, '=') = 0 then
      raise sqlstate '22023' using message = format('rowcall.generate: %L is no setting; known: %s, each as name=value', setting, array_to_string(known, ', '));
    end if;
    given := given || jsonb_build_object(split_part(setting, '=', 1), substr(setting, strpos(setting, '=') + 1));
  end loop;
  if given ? 'max_output_tokens' and given ->> 'max_output_tokens' ~ '^\d{1,9}$' then
    given := given || jsonb_build_object('max_output_tokens', (given ->> 'max_output_tokens')::integer);
  end if;
  problem := coalesce(rowcall.options_problem(given - 'owner' - 'lane'),
    case when given ->> 'lane' not in ('interactive', 'bulk') then format('lane must be interactive or bulk, not %s', given ->> 'lane') end);
  if problem is not null then
    raise sqlstate '22023' using message = format('rowcall.generate: %s', problem);
  end if;
  return jsonb_build_object('kind', parts[1], 'template', parts[2], 'column', parts[3], 'owner', given ->> 'owner',
    'lane', coalesce(given ->> 'lane', 'bulk'), 'options', given - 'owner' - 'lane');
end $$;

-- The target of a row: {schema, table, key, column}. Raises 22023 where the table cannot be filled so.
create function rowcall.target_of(relation regclass, record jsonb, column_name text) returns jsonb
language plpgsql stable set search_path = '' as $$
declare
  place record;
  key   jsonb;
begin
  select n.nspname, c.relname into place from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace where c.oid = relation;
  select jsonb_object_agg(a.attname, record -> a.attname::text) into key
    from pg_catalog.pg_index i join pg_catalog.pg_attribute a on a.attrelid = i.indrelid and a.attnum = any (i.indkey)
   where i.indrelid = relation and i.indisprimary;
  if key is null then
    raise sqlstate '22023' using message = format('rowcall.generate: table %s has no primary key, which says what row is to be filled', relation);
  end if;
  if not record ? column_name then
    raise sqlstate '22023' using message = format('rowcall.generate: table %s has no column %s to be filled', relation, quote_ident(column_name));
  end if;
  if key ? column_name then
    raise sqlstate '22023' using message = format('rowcall.generate: column %s is a part of the primary key of %s', quote_ident(column_name), relation);
  end if;
  return jsonb_build_object('schema', place.nspname, 'table', place.relname, 'key', key, 'column', column_name);
end $$;

-- In whose name: {user_id, tenant, claims, problem}. The token of the inserting transaction decides. Only without one, and for trusted
-- writers, the owner's column does: a client that may write that column must not ask in another's name. A generation that comes from the
-- fill of another (a chain) goes on in that one's name, unless the column says otherwise.
-- The setting `role` is what the API has switched to; inside a definer, current_user would be postgres for everybody.
create function rowcall.automation_owner(owner text, cause uuid) returns jsonb
language plpgsql stable set search_path = '' as $$
declare
  writer  text := coalesce(nullif(current_setting('role', true), 'none'), session_user);
  user_id uuid := auth.uid();
  parent  rowcall.generations;
begin
  if user_id is null and writer in ('postgres', 'service_role', 'supabase_admin') then
    begin
      user_id := owner::uuid;
    exception when invalid_text_representation then
      raise sqlstate '22023' using message = 'rowcall.generate: the owner''s column must hold a user''s id';
    end;
    if user_id is not null and not exists (select from auth.users u where u.id = user_id) then
      return jsonb_build_object('claims', rowcall.claims_for(null), 'problem',
        jsonb_build_object('code', 'automation.no_owner', 'message', format('there is no user %s', user_id)));
    end if;
    select * into parent from rowcall.generations g where g.id = cause;
    if parent.id is not null and (user_id is null or user_id = parent.user_id) then
      return jsonb_build_object('user_id', parent.user_id, 'tenant', parent.tenant, 'claims', parent.claims);
    end if;
  end if;
  return jsonb_build_object('user_id', user_id, 'claims', rowcall.claims_for(user_id), 'tenant', rowcall.tenant_of(rowcall.claims_for(user_id)));
end $$;

-- limit_problem for one more generation, counted once for each 100: a statement that writes 1,000 rows would count 1,000 times what it adds.
-- The setting holds the room that this transaction was promised, {who, left}.
create function rowcall.automation_limit_problem(owner uuid, tenant text) returns jsonb
language plpgsql set search_path = '' as $$
declare
  page constant integer := 100;
  who  text    := concat_ws(' ', owner, tenant);
  room jsonb   := nullif(current_setting('rowcall.room', true), '')::jsonb;
  free integer := case when room ->> 'who' = who then (room ->> 'left')::integer else 0 end;
begin
  if free = 0 then
    if rowcall.limit_problem(owner, tenant, 'automation', page) is not null then
      return rowcall.limit_problem(owner, tenant, 'automation', 1);
    end if;
    free := page;
  end if;
  perform set_config('rowcall.room', jsonb_build_object('who', who, 'left', free - 1)::text, true);
  return null;
end $$;

-- The generation of one row; its id, or null where the text is blank (there is nothing to ask), or, with unless_asked, where the latest
-- generation of the same target was asked the same.
create function rowcall.ask_for_row(automation jsonb, relation regclass, record jsonb, asked_as jsonb, hops integer, unless_asked boolean) returns uuid
language plpgsql set search_path = '' as $$
declare
  job       rowcall.kinds;
  wanted    jsonb := rowcall.target_of(relation, record, automation ->> 'column');   -- the target
  asked     text  := rowcall.render_template(automation ->> 'template', record);
  input     jsonb;
  most_hops integer := (select l.value from rowcall.limits l where l.name = 'automation_hops');
  max_bytes integer := (select l.value from rowcall.limits l where l.name = 'input_bytes');
  problem   jsonb   := asked_as -> 'problem';
  id        uuid    := gen_random_uuid();
begin
  if asked !~ '\S' then return null; end if;
  select * into job from rowcall.kinds k where k.kind = automation ->> 'kind';
  if job.kind is null then
    raise sqlstate '22023' using message = format('rowcall.generate: there is no kind %s; rowcall.kinds has %s', quote_literal(automation ->> 'kind'),
      (select string_agg(k.kind, ', ' order by k.kind) from rowcall.kinds k));
  end if;
  if cardinality(job.required_input) <> 1 then
    raise sqlstate '22023' using message = format('rowcall.generate: kind %s needs %s of input, and a template gives one', job.kind, cardinality(job.required_input));
  end if;
  input := jsonb_build_object(job.required_input[1], asked);
  if unless_asked and input = (select g.input from rowcall.generations g where g.target - 'hops' = wanted order by g.created_at desc limit 1) then
    return null;
  end if;
  if hops >= most_hops then
    problem := jsonb_build_object('code', 'automation.too_many_hops', 'message', format('a chain of automations ends at %s after %s steps', relation, hops));
  elsif octet_length(input::text) > max_bytes then
    problem := jsonb_build_object('code', 'input.too_large', 'message',
      format('the text has %s bytes, more than the limit of %s; input holds its beginning', octet_length(input::text), max_bytes));
    input := jsonb_build_object(job.required_input[1], left(asked, 1000));
  end if;
  problem := coalesce(nullif(problem, 'null'),
    rowcall.automation_limit_problem((asked_as ->> 'user_id')::uuid, asked_as ->> 'tenant') - 'hint');
  -- created_at by the clock: of two generations that one transaction makes for one target, the later one fills it.
  insert into rowcall.generations (id, user_id, tenant, claims, origin, kind, input, options, lane, target, status, error, finished_at, created_at)
  values (id, (asked_as ->> 'user_id')::uuid, asked_as ->> 'tenant', asked_as -> 'claims', 'automation', job.kind, input, automation -> 'options',
          automation ->> 'lane', wanted || jsonb_build_object('hops', hops), case when problem is null then 'queued' else 'refused' end,
          problem, case when problem is not null then now() end, clock_timestamp());
  return id;
end $$;

-- The trigger's function. DEFINER: whoever writes the row may neither insert such a generation nor set its target. Making a trigger needs
-- EXECUTE on its function, which postgres alone has: no client can aim it at a table.
create function rowcall.generate() returns trigger
language plpgsql security definer set search_path = '' as $$
declare
  automation jsonb;
  hops       integer := coalesce(nullif(current_setting('rowcall.hops', true), '')::integer, 0);
  cause      uuid    := case when hops > 0 then nullif(current_setting('rowcall.cause', true), '')::uuid end;
  before     jsonb;
  record     jsonb;
begin
  if tg_when <> 'AFTER' or tg_level <> 'ROW' or tg_op not in ('INSERT', 'UPDATE') then
    raise sqlstate '22023' using message = format('rowcall.generate: trigger %s must be `after insert or update … for each row`', quote_ident(tg_name));
  end if;
  automation := rowcall.read_automation(tg_argv);
  record := to_jsonb(new);
  if tg_op = 'UPDATE' then
    before := to_jsonb(old);
    -- Loops: our own write of the answer is no reason to ask again, nor is what the table's triggers change along with it (updated_at).
    if record - (automation ->> 'column') = before - (automation ->> 'column')
       or hops > 0 and rowcall.render_template(automation ->> 'template', record) = rowcall.render_template(automation ->> 'template', before) then
      return null;
    end if;
  end if;
  if automation ->> 'owner' is not null and not record ? (automation ->> 'owner') then
    raise sqlstate '22023' using message = format('rowcall.generate: table %s has no column %s to name the owner', tg_relid::regclass, quote_ident(automation ->> 'owner'));
  end if;
  perform set_config('rowcall.notified', '', true);
  perform rowcall.ask_for_row(automation, tg_relid, record, rowcall.automation_owner(record ->> (automation ->> 'owner'), cause), hops, false);
  return null;
end $$;

-- At commit, once: the webhook for all generations that the transaction has made, in pages of 500. A trigger for each row would send each
-- alone, and pg_net sends 200 a second. They are found by their run_at, which is this transaction's now() to the microsecond; one of another
-- transaction's would be hinted at twice, which is harmless.
create function rowcall.notify_automatic() returns trigger
language plpgsql security definer set search_path = '' as $$
begin
  if current_setting('rowcall.notified', true) = 'yes' then return null; end if;
  perform set_config('rowcall.notified', 'yes', true);
  perform rowcall.send_webhook('INSERT', (
    select array_agg(jsonb_build_object('id', g.id, 'attempt', g.attempt, 'kind', g.kind, 'lane', g.lane, 'tenant', g.tenant))
      from rowcall.generations g where g.status = 'queued' and g.run_at = now() and g.origin = 'automation'));
  return null;
end $$;
create constraint trigger generations_3_notify after insert on rowcall.generations deferrable initially deferred
  for each row when (new.origin = 'automation' and new.status = 'queued') execute function rowcall.notify_automatic();

-- The same for a Database Webhook of the dashboard, whose row a worker asks for by its key: the id of a new generation, or null. The row is
-- read as it is now, so that hints may come late, twice, or in any order. Nobody's token is at hand: the owner's column alone says in whose
-- name. No hop count comes along either, so that a circle of such webhooks and triggers is stopped by its pace.
-- keys: one; as an array it arrives the same on both stacks, like the batches of the lifecycle.
create function rowcall.ask_for_row_v1(schema_name text, table_name text, keys jsonb[], arguments text[]) returns uuid
language plpgsql security definer set search_path = '' as $$
declare
  relation   regclass := to_regclass(format('%I.%I', schema_name, table_name));
  automation jsonb := rowcall.read_automation(arguments);
  most       integer := (select l.value from rowcall.limits l where l.name = 'automation_per_row_and_hour');
  key_columns text;
  same_key   text;
  record     jsonb;
  wanted     jsonb;
  too_often  boolean;
begin
  if relation is null then
    raise sqlstate '22023' using message = format('rowcall.generate: table %I.%I does not exist', schema_name, table_name);
  end if;
  select string_agg(format('%I %s', a.attname, format_type(a.atttypid, a.atttypmod)), ', '), string_agg(format('t.%1$I = k.%1$I', a.attname), ' and ')
    into key_columns, same_key
    from pg_catalog.pg_attribute a where a.attrelid = relation and a.attnum > 0 and not a.attisdropped and keys[1] ? a.attname::text;
  if key_columns is null then
    raise sqlstate '22023' using message = format('rowcall.generate: table %s has no such key', relation);
  end if;
  execute format('select to_jsonb(t) from %s t, jsonb_to_record($1) k(%s) where %s limit 1', relation, key_columns, same_key) into record using keys[1];
  if record is null then return null; end if;   -- deleted meanwhile
  wanted := rowcall.target_of(relation, record, automation ->> 'column');
  perform pg_advisory_xact_lock(hashtextextended(wanted::text, 0));   -- two hints of one row: the second finds what the first has made
  too_often := most <= (select count(*) from rowcall.generations g where g.target - 'hops' = wanted and g.created_at > now() - interval '1 hour');
  return rowcall.ask_for_row(automation, relation, record, rowcall.automation_owner(record ->> (automation ->> 'owner'), null),
    case when too_often then (select l.value::integer from rowcall.limits l where l.name = 'automation_hops') else 0 end, true);
end $$;

-- The automations that there are, from the catalog: the triggers are the record. `problem`: the declaration is wrong (null: it can be read).
create function rowcall.automations_v1() returns table (
  schema_name text, table_name text, trigger_name text, is_enabled boolean, definition text, kind text, template text, column_name text,
  settings jsonb, problem text)
language plpgsql stable security definer set search_path = '' as $$
declare
  t          record;
  automation jsonb;
begin
  for t in
    select n.nspname, c.relname, g.tgname, g.tgenabled <> 'D' as enabled, pg_catalog.pg_get_triggerdef(g.oid, true) as definition,
           -- the arguments are bytes, each ended by a zero byte: 'xx xx 00 '
           (select array_agg(convert_from(decode(replace(a, ' ', ''), 'hex'), 'UTF8') order by p)
              from unnest(string_to_array(regexp_replace(encode(g.tgargs, 'hex'), '(..)', '\1 ', 'g'), '00 ')) with ordinality x (a, p)
             where p <= g.tgnargs) as arguments
      from pg_catalog.pg_trigger g join pg_catalog.pg_class c on c.oid = g.tgrelid join pg_catalog.pg_namespace n on n.oid = c.relnamespace
     where g.tgfoid = 'rowcall.generate()'::regprocedure and not g.tgisinternal and g.tgparentid = 0
     order by 1, 2, 3
  loop
    schema_name := t.nspname; table_name := t.relname; trigger_name := t.tgname; is_enabled := t.enabled; definition := t.definition;
    kind := t.arguments[1]; template := t.arguments[2]; column_name := t.arguments[3]; settings := null; problem := null;
    begin
      automation := rowcall.read_automation(t.arguments);
      settings := automation - 'kind' - 'template' - 'column';
    exception when sqlstate '22023' then
      problem := sqlerrm;
    end;
    return next;
  end loop;
end $$;

-- What an automation would ask for some of the rows that there are, without asking: {key, text, problem} each.
-- DEFINER: the worker's role need not be allowed to read the table.
create function rowcall.try_automation_v1(schema_name text, table_name text, trigger_name text, max_rows integer)
returns table (key jsonb, asked text, problem text)
language plpgsql stable security definer set search_path = '' as $$
declare
  relation   regclass := to_regclass(format('%I.%I', schema_name, table_name));
  automation jsonb;
  record     jsonb;
begin
  select jsonb_build_object('kind', a.kind, 'template', a.template, 'column', a.column_name) || coalesce(a.settings, '{}') into automation
    from rowcall.automations_v1() a
   where a.schema_name = try_automation_v1.schema_name and a.table_name = try_automation_v1.table_name and a.trigger_name = try_automation_v1.trigger_name;
  if automation is null then
    raise sqlstate '22023' using message = format('%I.%I has no automation %I', schema_name, table_name, trigger_name);
  end if;
  for record in execute format('select to_jsonb(t) from %s t limit %s', relation, max_rows) loop
    key := null; asked := null; problem := null;
    begin
      key := rowcall.target_of(relation, record, automation ->> 'column') -> 'key';
      asked := rowcall.render_template(automation ->> 'template', record);
    exception when sqlstate '22023' then
      problem := sqlerrm;
    end;
    return next;
  end loop;
end $$;

revoke all on function rowcall.render_template(text, jsonb), rowcall.read_automation(text[]), rowcall.target_of(regclass, jsonb, text),
  rowcall.automation_owner(text, uuid), rowcall.automation_limit_problem(uuid, text), rowcall.ask_for_row(jsonb, regclass, jsonb, jsonb, integer, boolean), rowcall.generate(), rowcall.notify_automatic(),
  rowcall.ask_for_row_v1(text, text, jsonb[], text[]), rowcall.automations_v1(), rowcall.try_automation_v1(text, text, text, integer)
  from public, anon, authenticated, service_role;
grant execute on function rowcall.ask_for_row_v1(text, text, jsonb[], text[]), rowcall.automations_v1(), rowcall.try_automation_v1(text, text, text, integer) to service_role;
