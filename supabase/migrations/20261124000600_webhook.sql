-- One signed request per INSERT statement (pages of 500 rows), sent by pg_net after commit. pg_net delivers at most once: the rows are the
-- outbox, the sweeper finds what was lost. The body carries hints only; the claim reads the row.

-- HMAC-SHA256 (RFC 2104, block size 64) in hex, from core functions: pgcrypto is not on every stack.
create function rowcall.hmac_sha256(message text, secret text) returns text
language plpgsql immutable strict parallel safe set search_path = '' as $$
declare
  key       bytea := convert_to(secret, 'UTF8');
  inner_pad bytea;
  outer_pad bytea;
begin
  if length(key) > 64 then key := sha256(key); end if;
  key := key || decode(repeat('00', 64 - length(key)), 'hex');
  inner_pad := key;
  outer_pad := key;
  for i in 0..63 loop
    inner_pad := set_byte(inner_pad, i, get_byte(key, i) # 54);   -- 0x36
    outer_pad := set_byte(outer_pad, i, get_byte(key, i) # 92);   -- 0x5c
  end loop;
  return encode(sha256(outer_pad || sha256(inner_pad || convert_to(message, 'UTF8'))), 'hex');
end $$;

-- rows: [{"id", "attempt", "kind", "lane", "tenant"}]. The vault's rowcall_webhook_url says where to; without it nothing is sent and nothing
-- is wrong (a laptop has no public URL). rowcall_webhook_secret may hold two values, separated by a comma: the first signs.
-- DEFINER: whoever inserts may read neither the vault nor net. Nothing that goes wrong here may cost the insert.
create function rowcall.send_webhook(type text, rows jsonb[]) returns void
language plpgsql security definer set search_path = '' as $$
declare
  url    text;
  secret text;
  stamp  text := floor(extract(epoch from clock_timestamp()))::bigint::text;
  body   jsonb;
begin
  if coalesce(array_length(rows, 1), 0) = 0 then return; end if;
  select max(s.decrypted_secret) filter (where s.name = 'rowcall_webhook_url'),
         split_part(max(s.decrypted_secret) filter (where s.name = 'rowcall_webhook_secret'), ',', 1)
    into url, secret
    from vault.decrypted_secrets s where s.name in ('rowcall_webhook_url', 'rowcall_webhook_secret');
  if coalesce(url, '') = '' then return; end if;
  if coalesce(secret, '') = '' then
    raise warning 'rowcall: no webhook sent: the vault has no rowcall_webhook_secret; the sweeper will find the rows';
    return;
  end if;
  for body in
    select jsonb_build_object('type', type, 'schema', 'rowcall', 'table', 'generations', 'rows', jsonb_agg(p.hint order by p.place))
      from (select r.hint, r.place, (r.place - 1) / 500 as page from unnest(rows) with ordinality r (hint, place)) p
     group by p.page order by p.page
  loop
    -- pg_net sends exactly body::text, so that is what is signed.
    perform net.http_post(url := url, body := body, timeout_milliseconds := 5000, headers := jsonb_build_object(
      'Content-Type', 'application/json',
      'X-Rowcall-Signature', 't=' || stamp || ',v1=' || rowcall.hmac_sha256(stamp || '.' || body::text, secret)));
  end loop;
exception when others then
  raise warning 'rowcall: no webhook sent: % (%); the sweeper will find the rows', sqlerrm, sqlstate;
end $$;

create function rowcall.notify_inserted() returns trigger
language plpgsql security definer set search_path = '' as $$
begin
  perform rowcall.send_webhook('INSERT', (
    select array_agg(jsonb_build_object('id', i.id, 'attempt', i.attempt, 'kind', i.kind, 'lane', i.lane, 'tenant', i.tenant))
      from inserted i where i.status = 'queued' and i.run_at <= now() and i.origin <> 'automation'));   -- those go at commit: rowcall.notify_automatic
  return null;
end $$;
create trigger generations_2_notify after insert on rowcall.generations
  referencing new table as inserted for each statement execute function rowcall.notify_inserted();

-- replay: failed, refused, review, canceled → queued, with all tries given back. Answers the ids that were replayed.
create function rowcall.replay_generations_v1(ids uuid[]) returns setof uuid
language plpgsql set search_path = '' as $$
declare
  replayed jsonb[];
begin
  with ended as materialized (
    select g.id from rowcall.generations g
     where g.id = any (ids) and g.status in ('failed', 'refused', 'review', 'canceled') order by g.id for no key update),
  moved as (
    update rowcall.generations g
       set status = 'queued', tries = 0, losses = 0, run_at = now(), finished_at = null, error = null, answer = null, output = null, citations = null
      from ended e where g.id = e.id
    returning g.id, g.attempt, g.kind, g.lane, g.tenant)
  select array_agg(to_jsonb(m)) into replayed from moved m;
  perform rowcall.send_webhook('REPLAY', replayed);
  return query select (r ->> 'id')::uuid from unnest(replayed) r;
end $$;

revoke all on function rowcall.hmac_sha256(text, text), rowcall.send_webhook(text, jsonb[]), rowcall.notify_inserted(),
  rowcall.replay_generations_v1(uuid[]) from public, anon, authenticated, service_role;
grant execute on function rowcall.send_webhook(text, jsonb[]), rowcall.replay_generations_v1(uuid[]) to service_role;
