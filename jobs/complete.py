"""A prompt and what the model makes of it, without documents: for automations that fill a column from its own row."""

from jobs.completions import Asked, complete_by
from jobs.decisions.prompting import Message
from jobs.ports import Finished, Work, World
from jobs.routes import chosen_route


async def complete(work: Work, world: World) -> Finished:
    """The model's text for `input.prompt`, and nothing beside it: it goes into a column as it is."""
    chosen, template = chosen_route(work, work.input["prompt"], world), world.prompts["complete"]
    messages = (Message("system", template.text), Message("user", work.input["prompt"]))
    asked = Asked("complete", messages, work.options.get("max_output_tokens"))
    completion = await complete_by(chosen.route, asked, work, world, opened=work.first_call)

    return Finished(
        answer=completion.text.strip(),
        output={"warnings": completion.warnings} if completion.warnings else None,
        route=completion.route,
        route_reason=completion.reason(chosen.reason),
        prompt_version=template.version,
    )
