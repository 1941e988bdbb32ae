"""One load process: `python -m quantserve.benchmarks.client.worker SHARD.json RECORDS.jsonl`.

Says `{"ready": true}` on stdout, waits for a line with the start time (perf_counter) on stdin, drives
its shard, reports progress once in a while, and at last its CPU seconds, with its event-loop delays in a file
beside the records.
A process of its own, so that progress bars and sampling never delay a time stamp.
"""

from __future__ import annotations

import asyncio
import dataclasses
import gc
import sys
import time
from pathlib import Path
from typing import Any

import orjson
import uvloop

from quantserve.benchmarks.client.drive import drive
from quantserve.benchmarks.plan import Shard, Target, Task, Turn
from quantserve.benchmarks.records import Failure, Record, encode

PROGRESS_PERIOD_S = 0.25


def dump_shard(shard: Shard) -> bytes:
    """Write a shard as JSON."""
    return orjson.dumps(shard)


def load_shard(data: bytes) -> Shard:
    """Read what `dump_shard` wrote."""
    value = orjson.loads(data)
    tasks = [
        Task(id=task["id"], at_s=task["at_s"], turns=[Turn(**turn) for turn in task["turns"]])
        for task in value.pop("tasks")
    ]
    return Shard(target=Target(**value.pop("target")), tasks=tasks, **value)


def lags_path(records_path: Path) -> Path:
    """Where the event-loop delays are written: pairs of when (seconds since the run's epoch) and how long."""
    return records_path.with_suffix(".lags.json")


@dataclasses.dataclass
class _Progress:
    done: int = 0
    failed: int = 0
    tokens: int = 0
    told_s: float = 0.0


def _say(value: dict[str, Any]) -> None:
    sys.stdout.buffer.write(orjson.dumps(value, option=orjson.OPT_APPEND_NEWLINE))
    sys.stdout.buffer.flush()


def main(shard_path: str, records_path: str) -> None:
    """Drive one shard."""
    shard = load_shard(Path(shard_path).read_bytes())
    progress = _Progress()
    with Path(records_path).open("wb") as stream:

        def emit(record: Record) -> None:
            stream.write(encode(record))
            progress.done += 1
            progress.failed += record.failure not in (None, Failure.CUT_OFF)
            progress.tokens += record.completion_tokens or 0
            now = time.perf_counter()
            if now - progress.told_s > PROGRESS_PERIOD_S:
                progress.told_s = now
                _say({"done": progress.done, "failed": progress.failed, "tokens": progress.tokens})

        _say({"ready": True})
        start_s = float(sys.stdin.readline())
        # Plans are large and live to the end: no collection pauses while stamps are taken.
        gc.collect()
        gc.freeze()
        gc.disable()
        cpu_s = time.process_time()
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            lags = runner.run(drive(shard, start_s, emit))
        cpu_s = time.process_time() - cpu_s
    # by file, since a quarter of an hour of delays is megabytes, and the pipe is for short lines
    lags_path(Path(records_path)).write_bytes(orjson.dumps(lags))
    _say(
        {
            "done": progress.done,
            "failed": progress.failed,
            "tokens": progress.tokens,
            "end": True,
            "cpu_s": cpu_s,
        }
    )


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
