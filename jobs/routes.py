"""The route of a row."""

from collections.abc import Sequence
from dataclasses import dataclass

from jobs.decisions.prompting import Message
from jobs.decisions.routing import Traits, choose_route, tags_of
from jobs.ports import Embedding, Route, Work, World


@dataclass(frozen=True, slots=True)
class Chosen:
    route: Route
    reason: str  # as in jobs.decisions.routing


def chosen_route(
    work: Work, text: str, world: World, *, history: Sequence[Message] = (), embedding: Embedding | None = None
) -> Chosen:
    """What the configuration's rules, or its classifier, choose for the row. `text`: the question, or the prompt."""
    tokens = sum(world.count_tokens(part) for part in (text, *(turn.content for turn in history)))
    traits = Traits(
        kind=work.kind,
        text=text,
        tokens=tokens,
        quality=work.options.get("quality", "auto"),
        tags=tags_of(work.input),
        history_turns=len(history),
        budget_left_share=work.budget_left_share,
    )
    choice = choose_route(traits, world.routing, embedding)
    return Chosen(world.routes[choice.route], choice.reason)
