"""What every job that asks a chat model does with its stream."""

from contextlib import aclosing

from jobs.errors import Retryable
from jobs.ports import Call, ChatRequest, Completed, World


async def stream_completion(request: ChatRequest, call: Call, world: World) -> tuple[str, Completed]:
    """The whole text and how it ended; passed on to the client while it comes. Raises what the model's port raises."""
    parts: list[str] = []
    call.sends([message.content for message in request.messages])
    async with aclosing(world.model.stream(request, call.id)) as events:
        async for event in events:
            if isinstance(event, Completed):
                if event.usage is not None:
                    call.used(event.usage)
                return "".join(parts), event
            call.received(event.text)
            parts.append(event.text)
            await world.stream.write(event.text)
    raise Retryable("model.stream_cut", "the model's stream ended before it was complete")


def warnings_of(ending: Completed) -> list[str]:
    """What the asker should know about the text."""
    return ["answer.cut: the limit of output tokens was reached"] if ending.finish == "length" else []
