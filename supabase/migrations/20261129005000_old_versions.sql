-- Versions of functions that nobody calls any more: neither a worker or a command, nor another function.

drop function rowcall.dead_generations_v1(text, timestamptz, integer);
drop function rowcall.usage_v1(timestamptz, timestamptz, text[]);
drop function rowcall.usage_v2(timestamptz, timestamptz, text[]);

-- As before, by automations_v2.
create or replace function rowcall.try_automation_v1(schema_name text, table_name text, trigger_name text, max_rows integer)
returns table (key jsonb, asked text, problem text)
language plpgsql stable security definer set search_path = '' as $$
declare
  relation   regclass := to_regclass(format('%I.%I', schema_name, table_name));
  automation record;
  record     jsonb;
begin
  select a.template, a.column_name into automation from rowcall.automations_v2() a
   where a.schema_name = try_automation_v1.schema_name and a.table_name = try_automation_v1.table_name and a.trigger_name = try_automation_v1.trigger_name;
  if not found then
    raise sqlstate '22023' using message = format('%I.%I has no automation %I', schema_name, table_name, trigger_name);
  end if;
  for record in execute format('select to_jsonb(t) from %s t limit %s', relation, max_rows) loop
    key := null; asked := null; problem := null;
    begin
      key := rowcall.target_of(relation, record, automation.column_name) -> 'key';
      asked := rowcall.render_template(automation.template, record);
    exception when sqlstate '22023' then
      problem := sqlerrm;
    end;
    return next;
  end loop;
end $$;
drop function rowcall.automations_v1();
