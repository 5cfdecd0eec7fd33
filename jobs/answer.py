"""The main story: question → context → prompt → model → answer."""

from collections.abc import Sequence
from dataclasses import asdict, replace

from jobs.completions import Asked, complete_by, give_again
from jobs.decisions.citing import cite
from jobs.decisions.compression import compress
from jobs.decisions.examples import choose_examples
from jobs.decisions.prompting import build_prompt
from jobs.embedding import embed
from jobs.noting import noted
from jobs.ports import Finished, Work, World
from jobs.questions import Question
from jobs.reranking import best_passages
from jobs.reusing import Reusing
from jobs.routes import chosen_route

NEAR_EXAMPLES = 40  # candidates, of the questions nearest to this one; 12 where all answers differ


async def answer(work: Work, world: World) -> Finished:
    """An answer from the owner's documents, streamed while it is written, with at most 5 citations."""
    question = Question.of(work)
    embedded = await embed([question.searched], world, opened=work.first_call)
    chosen = chosen_route(work, question.text, world, history=question.history, embedding=embedded.vectors[0])
    reusing = Reusing.of(work, question, chosen.route, world)
    context = await world.knowledge.context(
        work,
        question.searched,
        embedded.vectors,
        chosen.route.opening("answer"),
        max_chunks=world.retrieving.candidates,
        max_examples=NEAR_EXAMPLES if world.few_shot.limit else 0,
        cache_scope=reusing.scope,
    )
    examples = choose_examples(context.examples, question.searched, world.few_shot, world.count_tokens)
    context = replace(context, examples=examples)
    ranked = await best_passages(context, question.searched, world)
    passages = compress(
        ranked, question.searched, budget_tokens=chosen.route.context_budget_tokens, count_tokens=world.count_tokens
    )
    prompt = build_prompt(
        world.prompts["answer"],
        question.text,
        passages,
        history=question.history,
        examples=context.examples,
        count_tokens=world.count_tokens,
    )

    if reuse := reusing.choose(context, passages):
        completion = await give_again(reuse, chosen.route, world, opened=context.call)
    else:
        asked = Asked("answer", prompt.messages, question.max_output_tokens, passages=len(passages))
        standby = reusing.choose(context, passages, may_be_stale=True)
        completion = await complete_by(chosen.route, asked, work, world, opened=context.call, standby=standby)

    reused = completion.reused
    citations = reused.cached.citations if reused else [asdict(c) for c in cite(completion.text, passages)]
    return Finished(
        answer=completion.text,
        output=_remarks(completion.warnings, other_model=context.other_model),
        citations=tuple(citations),
        route=completion.route,
        route_reason=completion.reason(chosen.reason),
        prompt_version=prompt.version,
        reusable=reusing.entry(completion, context, passages, embedded.vectors[0], cites=bool(citations)),
        noted=noted(context, ranked, passages),
    )


def _remarks(warnings: Sequence[str], *, other_model: bool) -> dict[str, list[str]] | None:
    """What the asker should know about the answer."""
    remarks = list(warnings)
    if other_model:
        remarks.append("embedding.mismatch: some chunks were embedded by another model and cannot be found")
    return {"warnings": remarks} if remarks else None
