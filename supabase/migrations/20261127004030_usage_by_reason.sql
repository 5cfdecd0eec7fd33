-- Usage by why a row took its route, and by the version of its prompt: what a rule, the classifier, the cache or a cascade costs and saves.
-- Both are known of attempts that ended with an answer, and stand beside each of their calls.
alter table rowcall.calls add column route_reason text, add column prompt_version text;

-- As before, with those two and with the checks that an answer failed.
create or replace function rowcall.close_calls(closings jsonb[], settled uuid[] default '{}') returns void
language sql set search_path = '' as $$
  with given as (
    select distinct on (c.id) c.*
      from unnest(closings) e, jsonb_to_record(e) c (id uuid, status text, purpose text, provider text, model text, route text, tokens_in integer,
           tokens_cached integer, tokens_out integer, tokens_reasoning integer, cost_usd numeric, first_token_ms integer, duration_ms integer,
           error_code text, is_estimated boolean, reused_id bigint, saved_tokens_in integer, saved_tokens_out integer, saved_usd numeric,
           failed_checks text[], route_reason text, prompt_version text)
     where c.id is not null
     order by c.id),
  mine as materialized (
    select k.id from rowcall.calls k
     where k.id in (select g.id from given g) and k.status in ('open', 'abandoned') or k.generation_id = any (settled) and k.status = 'open'
     order by k.id for no key update),
  forgotten as (
    update rowcall.calls k set status = 'abandoned', finished_at = now()
      from mine m where k.id = m.id and k.id not in (select g.id from given g)),
  closed as (
    update rowcall.calls k
       set status = g.status, purpose = coalesce(g.purpose, k.purpose),
           provider = coalesce(g.provider, k.provider), model = coalesce(g.model, k.model), route = coalesce(g.route, k.route),
           tokens_in = g.tokens_in, tokens_cached = g.tokens_cached, tokens_out = g.tokens_out, tokens_reasoning = g.tokens_reasoning,
           cost_usd = g.cost_usd, first_token_ms = g.first_token_ms, duration_ms = g.duration_ms, error_code = g.error_code,
           is_estimated = coalesce(g.is_estimated, false), reused_id = g.reused_id, saved_tokens_in = g.saved_tokens_in,
           saved_tokens_out = g.saved_tokens_out, saved_usd = g.saved_usd, failed_checks = g.failed_checks, route_reason = g.route_reason,
           prompt_version = g.prompt_version, finished_at = now()
      from given g join mine m on m.id = g.id
     where k.id = g.id
    returning k.tenant, k.cost_usd, k.tokens_in, k.tokens_out)
  insert into rowcall.spend as s (tenant, day, cost_usd, calls, unpriced_calls, tokens_in, tokens_out)
  select c.tenant, (now() at time zone 'utc')::date, coalesce(sum(c.cost_usd), 0), count(*), count(*) filter (where c.cost_usd is null),
         coalesce(sum(c.tokens_in), 0), coalesce(sum(c.tokens_out), 0)
    from closed c where c.tenant is not null group by c.tenant order by c.tenant
  on conflict (tenant, day) do update
     set cost_usd = s.cost_usd + excluded.cost_usd, calls = s.calls + excluded.calls, unpriced_calls = s.unpriced_calls + excluded.unpriced_calls,
         tokens_in = s.tokens_in + excluded.tokens_in, tokens_out = s.tokens_out + excluded.tokens_out
$$;

-- usage_v2, kept apart by reason and by prompt as well; and how many answers were checked, and how many of them failed: the share of escalations.
create function rowcall.usage_v3(since timestamptz, until timestamptz, by text[])
returns table (day date, tenant text, kind text, purpose text, route text, reason text, prompt text, model text, calls bigint, failed bigint, abandoned bigint,
               unpriced bigint, tokens_in bigint, tokens_cached bigint, tokens_out bigint, cost_usd numeric, reused bigint, saved_usd numeric,
               p50_ms float8, p95_ms float8, checked bigint, escalated bigint)
language plpgsql stable set search_path = '' set statement_timeout = '60s' as $$
#variable_conflict use_column
declare
  unknown text := (select string_agg(b, ', ') from unnest(by) b where b not in ('day', 'tenant', 'kind', 'purpose', 'route', 'reason', 'prompt', 'model'));
begin
  if unknown is not null then
    raise sqlstate 'PT400' using message = format('by must be of day, tenant, kind, purpose, route, reason, prompt, model, not %s', unknown);
  end if;
  return query
  select case when 'day' = any (by) then (c.created_at at time zone 'utc')::date end,
         case when 'tenant' = any (by) then c.tenant end,
         case when 'kind' = any (by) then c.kind end,
         case when 'purpose' = any (by) then c.purpose end,
         case when 'route' = any (by) then c.route end,
         case when 'reason' = any (by) then c.route_reason end,
         case when 'prompt' = any (by) then c.prompt_version end,
         case when 'model' = any (by) then c.provider || '/' || c.model end,
         count(*) filter (where c.reused_id is null), count(*) filter (where c.status = 'failed'),
         count(*) filter (where c.status = 'abandoned'), count(*) filter (where c.status = 'succeeded' and c.cost_usd is null),
         coalesce(sum(c.tokens_in), 0), coalesce(sum(c.tokens_cached), 0), coalesce(sum(c.tokens_out), 0), coalesce(sum(c.cost_usd), 0),
         count(*) filter (where c.reused_id is not null), coalesce(sum(c.saved_usd), 0),
         percentile_cont(0.5) within group (order by c.duration_ms) filter (where c.status = 'succeeded' and c.reused_id is null),
         percentile_cont(0.95) within group (order by c.duration_ms) filter (where c.status = 'succeeded' and c.reused_id is null),
         count(c.failed_checks), count(*) filter (where c.failed_checks <> '{}')
    from rowcall.calls c where c.created_at >= since and c.created_at < until
   group by 1, 2, 3, 4, 5, 6, 7, 8
   order by 1 desc nulls last, 16 desc, 9 desc, 2, 3, 4, 5, 6, 7, 8;
end $$;
revoke all on function rowcall.usage_v3(timestamptz, timestamptz, text[]) from public, anon, authenticated, service_role;
grant execute on function rowcall.usage_v3(timestamptz, timestamptz, text[]) to service_role;
