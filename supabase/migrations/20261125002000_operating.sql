-- What an operator asks: how does it stand, what was spent. Read by `rowcall status`, `usage`, `dead` and `doctor` with the secret key.

-- Which models wrote the stored vectors is asked often and seldom changes: a look at each distinct value, not at each chunk.
create index chunks_embedding_model on rowcall.chunks (embedding_model);

create function rowcall.embedding_models_v1() returns setof text
language sql stable set search_path = '' as $$
  with recursive models as (
    (select c.embedding_model as model from rowcall.chunks c where c.embedding_model is not null order by 1 limit 1)
    union all
    select (select c.embedding_model from rowcall.chunks c where c.embedding_model > m.model order by 1 limit 1)
      from models m where m.model is not null)
  select m.model from models m where m.model is not null
$$;

-- One picture of now, and of the window_s seconds before it.
create function rowcall.status_v1(window_s double precision) returns jsonb
language sql stable set search_path = '' as $$
  with recent as (
    select g.status, g.error ->> 'code' as code from rowcall.generations g
     where g.finished_at >= now() - make_interval(secs => window_s)),
  live as (
    select a.worker, count(*) as running, min(a.lease_until) as lease_until from rowcall.attempts a
     where a.outcome is null and a.lease_until > now() group by a.worker)
  select jsonb_build_object(
    'at', now(),
    'window_s', window_s,
    'open', coalesce((select jsonb_agg(o order by o.lane, o.kind, o.status) from (
        select g.lane, g.kind, g.status, count(*) as rows, count(*) filter (where g.run_at > now()) as waiting,
               extract(epoch from now() - min(g.run_at) filter (where g.run_at <= now()))::float8 as oldest_s
          from rowcall.generations g where g.status in ('queued', 'running') group by g.lane, g.kind, g.status) o), '[]'),
    'ended', coalesce((select jsonb_object_agg(r.status, r.rows) from (select status, count(*) as rows from recent group by status) r), '{}'),
    'codes', coalesce((select jsonb_agg(c order by c.rows desc, c.code) from (
        select code, count(*) as rows from recent where code is not null group by code) c), '[]'),
    'workers', coalesce((select jsonb_agg(jsonb_build_object('worker', l.worker, 'running', l.running,
        'lease_s', extract(epoch from l.lease_until - now())::float8) order by l.worker) from live l), '[]'),
    'lost_leases', (select count(*) from rowcall.attempts a where a.outcome is null and a.lease_until <= now()),
    'today', (select jsonb_build_object('calls', coalesce(sum(s.calls), 0), 'cost_usd', coalesce(sum(s.cost_usd), 0),
        'unpriced_calls', coalesce(sum(s.unpriced_calls), 0)) from (
        select s.calls, s.cost_usd, s.unpriced_calls from rowcall.spend s where s.day = (now() at time zone 'utc')::date
        union all   -- rows without a tenant have no budget and no sum of the day: their calls are read from the ledger
        select 1, c.cost_usd, (c.cost_usd is null)::integer from rowcall.calls c
         where c.tenant is null and c.status in ('succeeded', 'failed')
           and c.created_at >= date_trunc('day', now() at time zone 'utc') at time zone 'utc') s),
    'embedding_models', to_jsonb(array(select rowcall.embedding_models_v1())))
$$;

-- The ledger, summed. `by` names the columns that stay apart, of: day, tenant, kind, purpose, route, model. Days are UTC.
create function rowcall.usage_v1(since timestamptz, until timestamptz, by text[])
returns table (day date, tenant text, kind text, purpose text, route text, model text, calls bigint, failed bigint, abandoned bigint,
               unpriced bigint, tokens_in bigint, tokens_cached bigint, tokens_out bigint, cost_usd numeric)
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
         count(*), count(*) filter (where c.status = 'failed'), count(*) filter (where c.status = 'abandoned'),
         count(*) filter (where c.status = 'succeeded' and c.cost_usd is null),
         coalesce(sum(c.tokens_in), 0), coalesce(sum(c.tokens_cached), 0), coalesce(sum(c.tokens_out), 0), coalesce(sum(c.cost_usd), 0)
    from rowcall.calls c where c.created_at >= since and c.created_at < until
   group by 1, 2, 3, 4, 5, 6
   order by 1 desc nulls last, 14 desc, 7 desc, 2, 3, 4, 5, 6;
end $$;

revoke all on function rowcall.embedding_models_v1(), rowcall.status_v1(double precision), rowcall.usage_v1(timestamptz, timestamptz, text[])
  from public, anon, authenticated, service_role;
grant execute on function rowcall.embedding_models_v1(), rowcall.status_v1(double precision), rowcall.usage_v1(timestamptz, timestamptz, text[])
  to service_role;
