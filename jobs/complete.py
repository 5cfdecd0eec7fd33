"""A prompt and what the model makes of it, without documents: for automations that fill a column from its own row."""

from jobs.completions import stream_completion, warnings_of
from jobs.decisions.prompting import Message
from jobs.ports import ChatRequest, Finished, Opening, Work, World


async def complete(work: Work, world: World) -> Finished:
    """The model's text for `input.prompt`, and nothing beside it: it goes into a column as it is."""
    route, template = world.route, world.prompts["complete"]
    most, wanted = route.max_output_tokens, work.options.get("max_output_tokens")
    request = ChatRequest(
        route.model,
        (Message("system", template.text), Message("user", work.input["prompt"])),
        min(most, wanted or most),
        route.first_token_timeout_s,
        route.total_timeout_s,
    )
    opening = Opening("complete", route.model, route.name)
    async with world.ledger.call(opening, opened=work.first_call_id) as call:
        text, ending = await stream_completion(request, call, world)

    warnings = warnings_of(ending)
    return Finished(
        answer=text.strip(),
        output={"warnings": warnings} if warnings else None,
        route=route.name,
        prompt_version=template.version,
    )
