-- Whether a cached answer is found, for `rowcall fallback-drill`: an entry is made for a passage, offered to the owner of its document and to
-- nobody who may not read it, and all of it is rolled back. So nobody else ever sees it, and nothing is left behind, whatever happens.
-- Answers {"cached": as context_v2's, or null, "problem": why not}.
create function rowcall.drill_cached_answer_v1() returns jsonb
language plpgsql set search_path = '' as $$
declare
  drill   constant text := 'rowcall fallback-drill';
  vector  constant extensions.vector := array_fill(0.05::real, array[384])::extensions.vector;
  passage record;
  mine    uuid;    -- a question of the owner's
  other   uuid;    -- and one of somebody who may not read the passage
  offered jsonb;
  leaked  jsonb;
  problem text;
begin
  select c.id, d.user_id, d.tenant into passage
    from rowcall.documents d join rowcall.chunks c on c.document_id = d.id and c.revision = d.revision
   where d.user_id is not null and d.tenant is not null limit 1;
  if not found then
    return '{"cached": null, "problem": "no document is ingested: there is nothing that an answer could be made from"}';
  end if;
  begin
    insert into rowcall.answer_cache (tenant, scope, question_key, question, embedding, embedding_model, answer, chunk_ids, seen_chunk_ids, user_id,
                                      fresh_until, expires_at)
    values (passage.tenant, drill, drill, 'Are you there?', vector, drill, 'Yes.', array[passage.id], array[passage.id], passage.user_id,
            now(), now() + interval '1 minute');
    insert into rowcall.generations (user_id, tenant, kind, input, status, attempt)
    values (passage.user_id, passage.tenant, 'answer', '{"question": "Are you there?"}', 'running', 1) returning id into mine;
    insert into rowcall.generations (user_id, tenant, kind, input, status, attempt)
    values (null, passage.tenant, 'answer', '{"question": "Are you there?"}', 'running', 1) returning id into other;
    offered := rowcall.context_v2(mine, 1, '', vector, drill, 1, 0, drill) #> '{cached,0}';
    leaked  := rowcall.context_v2(other, 1, '', vector, drill, 1, 0, drill) #> '{cached,0}';
    raise exception using errcode = 'RCUND', message = 'undone';
  exception
    when sqlstate 'RCUND' then
      problem := case when leaked is not null then 'the entry was offered to one who may not read its passage'
                      when offered is null then 'its owner was not offered the entry' end;
    when others then
      problem := format('%s (%s)', sqlerrm, sqlstate);
  end;
  return jsonb_build_object('cached', case when problem is null then offered end, 'problem', problem);
end $$;
revoke all on function rowcall.drill_cached_answer_v1() from public, anon, authenticated, service_role;
grant execute on function rowcall.drill_cached_answer_v1() to service_role;
