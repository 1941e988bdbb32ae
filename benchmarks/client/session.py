"""Play one task (a conversation of one or more turns) and make its records."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from time import perf_counter
from typing import Any

import orjson

from quantserve.benchmarks.client.http import Http, Reply
from quantserve.benchmarks.client.stream import Answer, parse
from quantserve.benchmarks.plan import Shard, Target, Task, Turn
from quantserve.benchmarks.records import Failure, Record


def path_of(target: Target) -> str:
    """The endpoint under the base URL."""
    return "/chat/completions" if target.chat else "/completions"


def headers_of(target: Target) -> dict[str, str]:
    """Request headers beyond the content type."""
    return {"Authorization": f"Bearer {target.api_key}"} if target.api_key else {}


def body_of(target: Target, turn: Turn, history: list[dict[str, Any]]) -> bytes:
    """The JSON body of one request."""
    options: dict[str, Any] = {"include_usage": True}
    if target.chunk_usage:
        options["continuous_usage_stats"] = True
    body: dict[str, Any] = {
        "model": target.model,
        "max_tokens": turn.max_tokens,
        "temperature": target.temperature,
        "stream": True,
        "stream_options": options,
        **target.extra_body,
    }
    if target.ignore_eos:
        body["ignore_eos"] = True
    if target.chat:
        body["messages"] = history
    else:
        body["prompt"] = turn.prompt
    return orjson.dumps(body)


def status_failure(status: int) -> Failure | None:
    """Map an HTTP status to a failure kind; None for success."""
    if status == 429:
        return Failure.RATE_LIMITED
    if 400 <= status < 500:
        return Failure.CLIENT_ERROR
    if status != 200:
        return Failure.SERVER_ERROR
    return None


def record_of(shard: Shard, task: Task, index: int, intended_s: float, reply: Reply) -> tuple[Record, Answer]:
    """Turn a reply into a record, times counted from the run's epoch."""
    turn, epoch = task.turns[index], shard.epoch_s
    record = Record(
        cell=shard.cell,
        task=task.id,
        turn=index,
        intended_s=intended_s - epoch,
        sent_s=reply.sent_s - epoch,
        first_byte_s=None if reply.first_byte_s is None else reply.first_byte_s - epoch,
        done_s=None if reply.done_s is None else reply.done_s - epoch,
        status=reply.status,
        wanted_tokens=turn.max_tokens if shard.target.ignore_eos else None,
        phase=shard.phase,
    )
    answer = Answer()
    failure, detail = reply.failure, reply.detail
    if failure is None and reply.status is not None and (kind := status_failure(reply.status)):
        failure = kind
        detail = b"".join(piece for _, piece in reply.parts)[:300].decode(errors="replace")
    elif reply.parts:
        answer = parse(reply.parts)
        if failure is None:
            failure, detail = answer.failure, answer.detail
    elif failure is None:
        failure, detail = Failure.EMPTY, "an empty body"
    record.token_s = [stamp - epoch for stamp in answer.token_s]
    record.token_n = answer.token_n
    record.prompt_tokens, record.completion_tokens = answer.prompt_tokens, answer.completion_tokens
    record.cached_tokens, record.finish_reason = answer.cached_tokens, answer.finish_reason
    record.extra = answer.extra
    if failure is None and answer.completion_tokens is None:
        failure, detail = Failure.MALFORMED, "the server sent no usage"
    if (
        failure is None
        and record.wanted_tokens is not None
        and (record.completion_tokens or 0) < record.wanted_tokens
    ):
        failure = Failure.SHORT
        detail = f"{record.completion_tokens} of {record.wanted_tokens} tokens, {record.finish_reason}"
    record.failure, record.detail = failure, detail
    return record, answer


async def play(
    http: Http, shard: Shard, task: Task, intended_s: float, emit: Callable[[Record], None]
) -> None:
    """Send the task's turns one after the other; a failed turn ends the conversation."""
    history: list[dict[str, Any]] = []
    for index, turn in enumerate(task.turns):
        if turn.think_s:
            await asyncio.sleep(turn.think_s)
            intended_s = perf_counter()
        elif index:
            intended_s = perf_counter()
        if isinstance(turn.prompt, list):
            history = [*history, *turn.prompt]
        body = body_of(shard.target, turn, history)
        sent = perf_counter()
        try:
            reply = await http.post(body, f"{shard.cell}-{task.id}-{index}")
        except asyncio.CancelledError:
            cut = Reply(
                sent, done_s=perf_counter(), failure=Failure.CUT_OFF, detail="the run's time was over"
            )
            emit(record_of(shard, task, index, intended_s, cut)[0])
            raise
        record, answer = record_of(shard, task, index, intended_s, reply)
        emit(record)
        if not record.ok:
            return
        history = [*history, {"role": "assistant", "content": "".join(answer.text)}]
