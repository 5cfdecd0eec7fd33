-- What clients may watch: their rows (postgres_changes, under the policies of generations) and the private topic generation:<id>, where the
-- worker broadcasts deltas and finish_generations_v1 sends `done`.
alter publication supabase_realtime add table rowcall.generations;

-- The generation that a topic names, or null: never an error, a topic is user input.
create function rowcall.topic_generation(topic text) returns uuid
language sql immutable parallel safe set search_path = '' as $$
  select case when topic ~ '^generation:[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$' then substr(topic, 12)::uuid end
$$;
revoke all on function rowcall.topic_generation(text) from public, anon, authenticated, service_role;
grant execute on function rowcall.topic_generation(text) to anon, authenticated, service_role;

-- Listening: whoever may read the row. There is no insert policy, so clients cannot send and nobody can forge a delta.
create policy "rowcall: listen to readable generations" on realtime.messages for select to authenticated
  using (extension = 'broadcast' and exists (
    select from rowcall.generations g where g.id = rowcall.topic_generation((select realtime.topic()))));
