"""Drive a shard: tasks in a closed loop (users) or an open one (planned times), their turns one by one.

Beside it the event loop's own delay is watched, which is an error of the stamps.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from time import perf_counter
from typing import Any

import orjson

from quantserve.benchmarks.load.http import Http, HttpReply
from quantserve.benchmarks.load.plan import LoadTarget, Shard, Task, Turn
from quantserve.benchmarks.load.stream import StreamAnswer, parse
from quantserve.benchmarks.records import Failure, Record


def path_of(target: LoadTarget) -> str:
    """The endpoint under the base URL."""
    return "/chat/completions" if target.chat else "/completions"


def headers_of(target: LoadTarget) -> dict[str, str]:
    """Request headers beyond the content type."""
    return {"Authorization": f"Bearer {target.api_key}"} if target.api_key else {}


def body_of(target: LoadTarget, turn: Turn, history: list[dict[str, Any]]) -> bytes:
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


def record_of(
    shard: Shard, task: Task, index: int, intended_s: float, reply: HttpReply
) -> tuple[Record, StreamAnswer]:
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
    answer = StreamAnswer()
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
        if index:
            intended_s = perf_counter()
        if isinstance(turn.prompt, list):
            history = [*history, *turn.prompt]
        body = body_of(shard.target, turn, history)
        sent = perf_counter()
        try:
            reply = await http.post(body, f"{shard.cell}-{task.id}-{index}")
        except asyncio.CancelledError:
            cut = HttpReply(
                sent, done_s=perf_counter(), failure=Failure.CUT_OFF, detail="the run's time was over"
            )
            emit(record_of(shard, task, index, intended_s, cut)[0])
            raise
        record, answer = record_of(shard, task, index, intended_s, reply)
        emit(record)
        if not record.ok:
            return
        history = [*history, {"role": "assistant", "content": "".join(answer.text)}]


LAG_PERIOD_S = 0.02


async def drive(shard: Shard, start_s: float, emit: Callable[[Record], None]) -> list[tuple[float, float]]:
    """Send the shard's tasks from `start_s` (perf_counter) on.

    Returns:
        Event loop delays as (seconds since the run's epoch, seconds late).
    """
    http = Http(
        shard.target.base_url, path_of(shard.target), headers_of(shard.target), shard.target.timeout_s
    )
    lags: list[tuple[float, float]] = []
    watcher = asyncio.create_task(_watch(shard.epoch_s, lags))
    await _until(start_s)
    end_s = None if shard.duration_s is None else start_s + shard.duration_s
    if shard.users is None:
        work = [asyncio.create_task(_open(http, shard, task, start_s, end_s, emit)) for task in shard.tasks]
    else:
        queue = iter(shard.tasks)
        step_s = shard.ramp_s / shard.users
        work = [
            asyncio.create_task(_user(http, shard, queue, start_s + number * step_s, end_s, emit))
            for number in range(shard.users)
        ]
    limit_s = None if end_s is None else end_s - perf_counter() + shard.grace_s
    _, late = await asyncio.wait(work, timeout=limit_s) if work else (set(), set())
    for task in late:
        task.cancel()
    results = await asyncio.gather(*work, return_exceptions=True)
    watcher.cancel()
    http.close()
    for result in results:
        if isinstance(result, BaseException) and not isinstance(result, asyncio.CancelledError):
            raise result
    return lags


async def _until(when_s: float) -> None:
    while (left := when_s - perf_counter()) > 0:
        await asyncio.sleep(left)


async def _open(
    http: Http, shard: Shard, task: Task, start_s: float, end_s: float | None, emit: Callable[[Record], None]
) -> None:
    intended_s = start_s + (task.at_s or 0.0)
    if end_s is not None and intended_s >= end_s:
        return
    await _until(intended_s)
    await play(http, shard, task, intended_s, emit)


async def _user(
    http: Http,
    shard: Shard,
    queue: Iterator[Task],
    start_s: float,
    end_s: float | None,
    emit: Callable[[Record], None],
) -> None:
    await _until(start_s)
    for task in queue:
        now = perf_counter()
        if end_s is not None and now >= end_s:
            return
        await play(http, shard, task, now, emit)


async def _watch(epoch_s: float, lags: list[tuple[float, float]]) -> None:
    while True:
        before = perf_counter()
        await asyncio.sleep(LAG_PERIOD_S)
        now = perf_counter()
        lags.append((now - epoch_s, max(0.0, now - before - LAG_PERIOD_S)))
