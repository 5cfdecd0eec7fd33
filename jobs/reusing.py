"""Answers that are given again: which one fits a row, and whether its own is one."""

from collections.abc import Sequence
from dataclasses import dataclass

from jobs.completions import Completion, cascade_of
from jobs.decisions.caching import Caching, Reuse, choose_reuse, question_key, scope_of
from jobs.decisions.compression import Passage
from jobs.ports import Context, Embedding, Reusable, Route, Work, World
from jobs.questions import Question


@dataclass(frozen=True, slots=True)
class Reusing:
    """The cache as one row sees it. `scope` is None where it must not see it: with history, or for nobody's tenant."""

    caching: Caching
    question: Question
    scope: str | None
    embedding_model: str

    @classmethod
    def of(cls, work: Work, question: Question, route: Route, world: World) -> "Reusing":
        shareable = world.caching.mode != "off" and not question.history and work.tenant is not None
        asked = (
            work.kind,
            world.prompts["answer"].version,
            (route.name, route.model.provider, route.model.model),
            min(route.max_output_tokens, question.max_output_tokens or route.max_output_tokens),
            route.context_budget_tokens,
            world.embedder.name.model,
            work.input.get("filter"),
            *_beyond(route, work, world),
        )
        return cls(world.caching, question, scope_of(*asked) if shareable else None, world.embedder.name.model)

    def choose(self, context: Context, passages: Sequence[Passage], *, may_be_stale: bool = False) -> Reuse | None:
        """The cached answer that answers the question. A stale one is for when the models failed."""
        if self.scope is None:
            return None
        key = self._key(context, passages)
        found = frozenset(candidate.chunk_id for candidate in context.candidates)
        return choose_reuse(
            context.cached, self.question.text, key, passages, found, self.caching, may_be_stale=may_be_stale
        )

    def entry(
        self,
        completion: Completion,
        context: Context,
        passages: Sequence[Passage],
        embedding: Embedding,
        *,
        cites: bool,
    ) -> Reusable | None:
        """What the answer leaves in the cache: only what the meant route wrote to its end, and with a citation.

        An answer to which a cascade escalated is one: whoever asks this next would be asked for by the same cascade,
        which the scope names. One that failed its checks and was given all the same is none: the next may do better.
        """
        is_meant = completion.route == completion.meant_for and completion.unchecked is None
        is_whole = completion.ending.finish == "stop" and is_meant
        if self.scope is None or completion.reused is not None or not is_whole or not cites:
            return None
        return Reusable(
            scope=self.scope,
            key=self._key(context, passages),
            question=self.question.text,
            embedding=embedding,
            embedding_model=self.embedding_model,
            chunk_ids=tuple(passage.chunk_id for passage in passages),
            seen_chunk_ids=tuple(candidate.chunk_id for candidate in context.candidates),
            had_examples=bool(context.examples),
            ttl_s=self.caching.ttl_s,
            stale_s=self.caching.stale_s,
        )

    def _key(self, context: Context, passages: Sequence[Passage]) -> str:
        examples = [(example.question, example.answer) for example in context.examples]
        return question_key(self.scope or "", self.question.text, passages, examples)


def _beyond(route: Route, work: Work, world: World) -> tuple[object, ...]:
    """Who else may have written an answer of this scope: the stronger route of a cascade, and when it does.

    So an answer of the stronger model is never given to whoever asked the cheap route alone (`quality` fast, or before
    the cascade was turned on), nor the other way round. Where there is no cascade, scopes are what they always were.
    """
    cascade = cascade_of(route, work)
    if cascade is None:
        return ()
    to = world.routes[cascade.to]
    return ((to.name, to.model.provider, to.model.model, to.max_output_tokens), cascade.checks)
