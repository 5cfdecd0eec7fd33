-- A table of questions as one writes it without Rowcall: rows, policies, a Database Webhook, a function that finds passages.
create table public.stock_questions (
  id         uuid        primary key default gen_random_uuid(),
  user_id    uuid        not null default auth.uid() references auth.users (id),
  question   text        not null,
  status     text        not null default 'pending',
  answer     text        not null default '',
  created_at timestamptz not null default now()
);
create index on public.stock_questions (user_id);
alter table public.stock_questions enable row level security;
create policy own on public.stock_questions to authenticated
  using (user_id = (select auth.uid())) with check (user_id = (select auth.uid()));
grant select, insert on public.stock_questions to authenticated;
grant select, update on public.stock_questions to service_role;
alter publication supabase_realtime add table public.stock_questions;

create function public.match_chunks(query_embedding extensions.vector(384), match_count integer)
returns table (content text, similarity double precision)
language sql stable set search_path = public, extensions as $$
  select c.content, 1 - (c.embedding <=> query_embedding) from rowcall.chunks c
   order by c.embedding <=> query_embedding limit match_count
$$;
revoke execute on function public.match_chunks(extensions.vector, integer) from public;
grant execute on function public.match_chunks(extensions.vector, integer) to service_role;

-- What the dashboard writes for a Database Webhook; the bench fills in the address and the secret.
create trigger stock_questions_webhook after insert on public.stock_questions
  for each row execute function supabase_functions.http_request(
    '{url}', 'POST', '{{"Content-Type": "application/json", "Authorization": "Bearer {secret}"}}', '{{}}', '5000');
