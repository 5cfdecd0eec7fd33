"""The main story: question → context → prompt → model → answer."""

from dataclasses import asdict

from jobs.completions import stream_completion, warnings_of
from jobs.decisions.citing import cite
from jobs.decisions.compression import compress
from jobs.decisions.fusion import fuse
from jobs.decisions.prompting import build_prompt
from jobs.ports import ChatRequest, Completed, Finished, Opening, Work, World
from jobs.questions import Question

MAX_CHUNKS = 30  # candidates from each of the two searches
MAX_PASSAGES = 8  # of them, in the prompt
MAX_EXAMPLES = 2


async def answer(work: Work, world: World) -> Finished:
    """An answer from the owner's documents, streamed while it is written, with at most 5 citations."""
    question, route = Question.of(work), world.route

    async with world.ledger.call(Opening("embed", world.embedder.name), opened=work.first_call_id) as call:
        embedded = await world.embedder.embed([question.searched], call.id)
        call.used(embedded.usage)

    opening = Opening("answer", route.model, route.name)
    context = await world.knowledge.context(
        work, question.searched, embedded.vectors, opening, max_chunks=MAX_CHUNKS, max_examples=MAX_EXAMPLES
    )
    ranked = fuse(context.candidates, question=question.searched, limit=MAX_PASSAGES)
    passages = compress(
        ranked, question.searched, budget_tokens=route.context_budget_tokens, count_tokens=world.count_tokens
    )
    prompt = build_prompt(
        world.prompts["answer"],
        question.text,
        passages,
        history=question.history,
        examples=context.examples,
        count_tokens=world.count_tokens,
    )

    request = ChatRequest(
        route.model,
        prompt.messages,
        question.output_limit(route.max_output_tokens),
        route.first_token_timeout_s,
        route.total_timeout_s,
    )
    async with world.ledger.call(opening, opened=context.call_id) as call:
        text, ending = await stream_completion(request, call, world)

    return Finished(
        answer=text,
        output=_remarks(ending, other_model=context.other_model),
        citations=tuple(asdict(citation) for citation in cite(text, passages)),
        route=route.name,
        prompt_version=prompt.version,
    )


def _remarks(ending: Completed, *, other_model: bool) -> dict[str, list[str]] | None:
    """What the asker should know about the answer."""
    warnings = warnings_of(ending)
    if other_model:
        warnings.append("embedding.mismatch: some chunks were embedded by another model and cannot be found")
    return {"warnings": warnings} if warnings else None
