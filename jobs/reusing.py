"""Answers that are given again: which one fits a row, and whether its own is one."""

from collections.abc import Sequence
from dataclasses import dataclass

from jobs.completions import Completion
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
        """What the answer leaves in the cache: only what the meant route wrote to its end, and with a citation."""
        is_whole = completion.ending.finish == "stop" and completion.route == completion.meant_for
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
