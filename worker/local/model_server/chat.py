import asyncio
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from worker.local.model_server import protocol
from worker.local.model_server.completions import Completion, complete, spoil
from worker.local.model_server.exchanges import Cut, Exchange, forever
from worker.local.model_server.faults import CutStream, Fault, Faults, Hang, Malformed, Slow
from worker.local.model_server.models import Models
from worker.local.model_server.pacing import Pace, paced
from worker.local.model_server.prompt_cache import PromptCache
from worker.local.model_server.protocol import ChatBody


@dataclass(frozen=True, slots=True)
class Chat:
    """`POST /v1/chat/completions`."""

    models: Models
    faults: Faults
    pace: Pace
    cache: PromptCache

    async def answer(self, exchange: Exchange) -> None:
        body = protocol.read_chat(exchange.body)
        messages = tuple(message.plain() for message in body.messages)
        text = "\n".join(message.text for message in messages)
        record = exchange.record
        record.note_request(body.model, text)
        record.stream = body.stream
        self.models.check_chat(body.model)
        fault = self.faults.take("chat", body.model, text)
        await exchange.suffer(fault)

        record.completion_id = record.request_id.replace("req_", "chatcmpl-")
        record.prompt_tokens, record.cached_tokens = self.cache.measure(body.model, messages)
        completion = spoil(complete(messages, body.limit), fault)
        send = _stream if body.stream else _answer_whole
        await send(exchange, body, completion, fault, _pace(self.pace, fault))


def _pace(usual: Pace, fault: Fault | None) -> Pace:
    return Pace(fault.first_token_s, fault.between_tokens_s) if isinstance(fault, Slow) else usual


async def _answer_whole(
    exchange: Exchange, body: ChatBody, completion: Completion, fault: Fault | None, pace: Pace
) -> None:
    await asyncio.sleep(pace.total_s(len(completion.tokens)))
    record = exchange.record
    record.completion_tokens, record.finish_reason = len(completion.tokens), completion.finish_reason
    message = {"role": "assistant", "content": None, "refusal": None, completion.field: "".join(completion.tokens)}
    content = protocol.chat_completion(_head(exchange, body), message, completion.finish_reason, _usage(exchange))
    await exchange.answer(200, content, fault=fault)


async def _stream(exchange: Exchange, body: ChatBody, completion: Completion, fault: Fault | None, pace: Pace) -> None:
    head = _head(exchange, body)
    wants_usage = body.stream_options.include_usage
    if wants_usage:
        head["usage"] = None
    total = len(completion.tokens)

    await asyncio.sleep(pace.first_token_s)
    await exchange.begin_stream()
    await _send(exchange, protocol.chat_chunk(head, {"role": "assistant", "content": "", "refusal": None}))
    async for token in paced(completion.tokens, pace.between_tokens_s):
        await _disturb(exchange, fault, total)
        await _send(exchange, protocol.chat_chunk(head, {completion.field: token}))
        exchange.record.note_chunk()
    await _disturb(exchange, fault, total)
    exchange.record.finish_reason = completion.finish_reason
    await _send(exchange, protocol.chat_chunk(head, {}, completion.finish_reason))
    if wants_usage:
        await _send(exchange, protocol.usage_chunk(head, _usage(exchange)))
    await exchange.end_stream()


async def _disturb(exchange: Exchange, fault: Fault | None, total: int) -> None:
    """What a fault does to a stream after so many chunks, or at its end if it has fewer."""
    sent = exchange.record.chunks
    match fault:
        case CutStream(after_chunks=after_chunks) if sent == min(after_chunks, total):
            raise Cut
        case Hang(after_chunks=after_chunks) if sent == min(after_chunks, total):
            await forever()
        case Malformed() if sent == min(1, total):
            await exchange.send_event('{"id": "chatcmpl-')
        case _:
            return


async def _send(exchange: Exchange, chunk: Mapping[str, Any]) -> None:
    await exchange.send_event(json.dumps(chunk, separators=(",", ":")))


def _head(exchange: Exchange, body: ChatBody) -> dict[str, Any]:
    return {"id": exchange.record.completion_id, "created": int(time.time()), "model": body.model}


def _usage(exchange: Exchange) -> dict[str, Any]:
    record = exchange.record
    return protocol.usage(record.prompt_tokens or 0, record.cached_tokens or 0, record.completion_tokens)
