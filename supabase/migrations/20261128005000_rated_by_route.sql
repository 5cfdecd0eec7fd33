-- What a rated answer took of the route that wrote it: `rowcall calibrate` prices it so. It read what its whole row took, and so priced the first
-- answer of a cascade, the embedding and a reranker's passages as that route's.

-- As before, with the tokens of the route's own call; those of the row where the ledger has forgotten it.
create or replace function rowcall.rated_answers_v1(since timestamptz, after uuid, max_rows integer)
returns table (id uuid, input jsonb, route text, quality double precision, tokens_in integer, tokens_out integer)
language sql stable set search_path = '' set statement_timeout = '60s' as $$
  with rated as (
    select g.id, g.attempt, g.input, g.route, avg((f.rating + 1) / 2.0)::double precision as quality, g.tokens_in, g.tokens_out
      from rowcall.feedback f join rowcall.generations g on g.id = f.generation_id
     where f.created_at >= since and f.generation_id > after
       and g.kind = 'answer' and g.status = 'succeeded' and g.route is not null and g.tokens_in is not null and g.tokens_out is not null
       and not exists (select from rowcall.calls k where k.generation_id = g.id and k.reused_id is not null)
     group by g.id
     order by g.id
     limit max_rows)
  select r.id, r.input, r.route, r.quality, coalesce(k.tokens_in, r.tokens_in), coalesce(k.tokens_out, r.tokens_out)
    from rated r
    left join lateral (
      select c.tokens_in, c.tokens_out from rowcall.calls c
       where c.generation_id = r.id and c.attempt = r.attempt and c.route = r.route and c.status = 'succeeded'
       order by c.created_at desc, c.id limit 1) k on true
   order by r.id
$$;
