"""An arq worker as people write it today: `arq stock_worker.WorkerSettings`, with arq's own settings."""

import os
from pathlib import Path
from typing import Any

from arq.connections import RedisSettings
from openai import AsyncOpenAI
from supabase import AsyncClient, acreate_client

MODEL, EMBEDDING_MODEL = os.environ["STOCK_MODEL"], os.environ["STOCK_EMBEDDING_MODEL"]
MAX_TOKENS = int(os.environ["STOCK_MAX_TOKENS"])
SYSTEM_PROMPT = Path(os.environ["STOCK_PROMPT"]).read_text(encoding="utf-8")
MATCH_COUNT = 8  # as many passages as jobs/answer.py gives


async def startup(ctx: dict[str, Any]) -> None:
    ctx["supabase"] = await acreate_client(os.environ["SUPABASE_URL"], os.environ["SUPABASE_SECRET_KEY"])
    ctx["openai"] = AsyncOpenAI()


async def answer_question(ctx: dict[str, Any], id: str, question: str) -> None:
    supabase: AsyncClient = ctx["supabase"]
    openai: AsyncOpenAI = ctx["openai"]
    embedded = await openai.embeddings.create(model=EMBEDDING_MODEL, input=question)
    vector = embedded.data[0].embedding
    found = await supabase.rpc("match_chunks", {"query_embedding": str(vector), "match_count": MATCH_COUNT}).execute()
    stream = await openai.chat.completions.create(
        model=MODEL,
        messages=[
            {"role": "system", "content": SYSTEM_PROMPT},
            {"role": "user", "content": prompt_of(question, found.data)},
        ],
        max_tokens=MAX_TOKENS,
        stream=True,
    )
    answer = ""
    async for chunk in stream:
        if chunk.choices and chunk.choices[0].delta.content:
            answer += chunk.choices[0].delta.content
            await update(supabase, id, {"answer": answer, "status": "streaming"})
    await update(supabase, id, {"answer": answer, "status": "done"})


async def update(supabase: AsyncClient, id: str, values: dict[str, Any]) -> None:
    await supabase.table("stock_questions").update(values).eq("id", id).execute()


def prompt_of(question: str, chunks: Any) -> str:
    passages = "\n".join(f'<passage id="{n}">\n{c["content"]}\n</passage>' for n, c in enumerate(chunks, 1))
    return f"<passages>\n{passages}\n</passages>\n\n<question>\n{question}\n</question>"


class WorkerSettings:
    functions = (answer_question,)
    on_startup = startup
    redis_settings = RedisSettings.from_dsn(os.environ["STOCK_REDIS_URL"])
