-- cancel_generations_v1 ends a row at once, with the text of its last checkpoint. Its worker hears of it a little later, and has more: all that it
-- sent to clients, what it cost, when the text began.

create or replace function rowcall.move_is_allowed(before text, after text) returns boolean
language sql immutable parallel safe set search_path = '' as $$
  select (before, after) in (
    ('queued',   'running'),     -- claim
    ('queued',   'canceled'),    -- cancel
    ('running',  'running'),     -- claim, after a lease that ended
    ('running',  'queued'),      -- retry, release
    ('running',  'succeeded'),   -- finish
    ('running',  'failed'),      -- fail
    ('running',  'refused'),     -- refuse
    ('running',  'review'),      -- finish, for a person to look at
    ('running',  'canceled'),    -- cancel
    ('canceled', 'canceled'),    -- cancel: its worker adds what it had
    ('failed',   'queued'),      -- replay
    ('refused',  'queued'),      -- replay
    ('review',   'queued'),      -- replay
    ('canceled', 'queued')       -- replay
  )
$$;

-- [{"id", "attempt", "partial", "tokens_in", "tokens_cached", "tokens_out", "cost_usd", "first_token_at", "calls"}] → those that took it. Text of
-- an attempt that was not canceled changes nothing, and no text is ever replaced by another or by less.
create function rowcall.keep_canceled_v1(canceled jsonb[]) returns table (id uuid, attempt integer)
language plpgsql set search_path = '' as $$
declare
  r record;
begin
  for r in
    select x.* from unnest(canceled) e, jsonb_to_record(e) x (id uuid, attempt integer, partial text, tokens_in integer, tokens_cached integer,
           tokens_out integer, cost_usd numeric, first_token_at timestamptz)
     order by x.id
  loop
    update rowcall.generations g
       set answer = case when starts_with(r.partial, coalesce(g.answer, '')) and r.partial <> '' then r.partial else g.answer end,
           tokens_in = r.tokens_in, tokens_cached = r.tokens_cached, tokens_out = r.tokens_out, cost_usd = r.cost_usd,
           first_token_at = r.first_token_at
     where g.id = r.id and g.attempt = r.attempt and g.status = 'canceled'
       and exists (select from rowcall.attempts a where a.generation_id = r.id and a.attempt = r.attempt and a.outcome = 'canceled');
    if found then
      id := r.id; attempt := r.attempt;
      return next;
    end if;
  end loop;
  perform rowcall.close_calls((select array_agg(c) from unnest(canceled) e, jsonb_array_elements(coalesce(nullif(e -> 'calls', 'null'), '[]')) c));
end $$;

revoke all on function rowcall.keep_canceled_v1(jsonb[]) from public, anon, authenticated, service_role;
grant execute on function rowcall.keep_canceled_v1(jsonb[]) to service_role;
