-- usage_v1, and what the cache has spared (reused: calls that were not made), and how long calls took that were.
create function rowcall.usage_v2(since timestamptz, until timestamptz, by text[])
returns table (day date, tenant text, kind text, purpose text, route text, model text, calls bigint, failed bigint, abandoned bigint,
               unpriced bigint, tokens_in bigint, tokens_cached bigint, tokens_out bigint, cost_usd numeric, reused bigint, saved_usd numeric,
               p50_ms float8, p95_ms float8)
language plpgsql stable set search_path = '' set statement_timeout = '60s' as $$
#variable_conflict use_column
declare
  unknown text := (select string_agg(b, ', ') from unnest(by) b where b not in ('day', 'tenant', 'kind', 'purpose', 'route', 'model'));
begin
  if unknown is not null then
    raise sqlstate 'PT400' using message = format('by must be of day, tenant, kind, purpose, route, model, not %s', unknown);
  end if;
  return query
  select case when 'day' = any (by) then (c.created_at at time zone 'utc')::date end,
         case when 'tenant' = any (by) then c.tenant end,
         case when 'kind' = any (by) then c.kind end,
         case when 'purpose' = any (by) then c.purpose end,
         case when 'route' = any (by) then c.route end,
         case when 'model' = any (by) then c.provider || '/' || c.model end,
         count(*) filter (where c.reused_id is null), count(*) filter (where c.status = 'failed'),
         count(*) filter (where c.status = 'abandoned'), count(*) filter (where c.status = 'succeeded' and c.cost_usd is null),
         coalesce(sum(c.tokens_in), 0), coalesce(sum(c.tokens_cached), 0), coalesce(sum(c.tokens_out), 0), coalesce(sum(c.cost_usd), 0),
         count(*) filter (where c.reused_id is not null), coalesce(sum(c.saved_usd), 0),
         percentile_cont(0.5) within group (order by c.duration_ms) filter (where c.status = 'succeeded' and c.reused_id is null),
         percentile_cont(0.95) within group (order by c.duration_ms) filter (where c.status = 'succeeded' and c.reused_id is null)
    from rowcall.calls c where c.created_at >= since and c.created_at < until
   group by 1, 2, 3, 4, 5, 6
   order by 1 desc nulls last, 14 desc, 7 desc, 2, 3, 4, 5, 6;
end $$;
revoke all on function rowcall.usage_v2(timestamptz, timestamptz, text[]) from public, anon, authenticated, service_role;
grant execute on function rowcall.usage_v2(timestamptz, timestamptz, text[]) to service_role;
