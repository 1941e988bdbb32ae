"""Indexing jobs: one after the other, each in a process of its own, with progress for whoever asks."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
import time
import uuid
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import Any, Literal

from quantserve.core.http.refusal import Refusal
from quantserve.rag.config import RagConfig
from quantserve.rag.server.indexing.worker import JobSpec

State = Literal["queued", "running", "done", "failed"]
_KEPT = 200
_STDERR_TAIL = 400
_RETRY_S = 10
_LONGEST_LINE = 256 << 20
"""Of the worker: its report names every file that has something to it."""


@dataclass
class IndexJob:
    """One job; `stage` is waiting, starting, reading, embedding or swapping while it runs."""

    kind: Literal["add", "remove"]
    keys: tuple[str, ...]
    skipped: dict[str, str] = field(default_factory=dict)
    """Uploaded files that are not read, and their format."""
    owner: str = ""
    """Id of the key that asked for it."""
    id: str = field(default_factory=lambda: uuid.uuid4().hex[:16])
    state: State = "queued"
    stage: str = ""
    file: str = ""
    done: int = 0
    total: int = 0
    problem: str = ""
    report: dict[str, Any] | None = None
    seconds: float | None = None

    def view(self) -> dict[str, Any]:
        """Return the job as clients see it."""
        report = self.report or {}
        names = [PurePath(key).name for key in self.keys]
        return {
            "id": self.id,
            "kind": self.kind,
            "names": names,
            "state": self.state,
            "stage": self.stage,
            "file": self.file,
            "done": self.done,
            "total": self.total,
            "problem": self.problem,
            "seconds": self.seconds,
            "passages": report.get("chunks"),
            "embedded": report.get("embedded"),
            "problems": {
                PurePath(file).name: text
                for file, text in report.get("problems", {}).items()
                if PurePath(file).name in names
            },
            "skipped": self.skipped,
            "url": f"/documents/jobs/{self.id}",
        }

    def note_event(self, event: dict[str, Any]) -> None:
        """Take up one line of the worker."""
        kind = event.get("event")
        if kind == "failed":
            self.problem = str(event["problem"])
        elif kind == "done":
            self.report, self.stage = event["report"], "swapping"
        else:
            self.stage = str(kind)
            self.file = str(event.get("file", self.file))
            self.done, self.total = int(event.get("done", 0)), int(event.get("total", 0))


class Jobs:
    """The queue. `swapped` is called in a thread after a job that may have changed the index."""

    def __init__(
        self,
        rag: RagConfig,
        upload_dir: Path,
        *,
        most_waiting: int,
        most_waiting_per_key: int,
        lock_wait_s: float,
        swapped: Callable[[], None],
        finished: Callable[[IndexJob], None] = lambda job: None,
    ) -> None:
        """Nothing runs before `start`; a job waits `lock_wait_s` for another writer of the index."""
        self._rag, self._upload_dir, self._lock_wait_s = rag, upload_dir, lock_wait_s
        self._most_waiting, self._most_waiting_per_key = most_waiting, most_waiting_per_key
        self._swapped, self._finished = swapped, finished
        self._jobs: OrderedDict[str, IndexJob] = OrderedDict()
        self._queue: asyncio.Queue[IndexJob] = asyncio.Queue()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to work off the queue."""
        self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """End the running worker; the index stays as its last job left it."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    def require_room(self, owner: str = "") -> None:
        """Refuse early what could not be queued; `owner` is the id of a key, which has a share.

        Raises:
            Refusal: 429, too many wait.
        """
        own = sum(job.state == "queued" and job.owner == owner for job in self._jobs.values())
        if self._queue.qsize() >= self._most_waiting or (owner and own >= self._most_waiting_per_key):
            whose = "" if self._queue.qsize() >= self._most_waiting else " of this key"
            message = f"too many indexing jobs{whose} are waiting; try again"
            raise Refusal(429, "too_many_jobs", message, retry_after_s=_RETRY_S)

    def add(
        self,
        kind: Literal["add", "remove"],
        keys: Sequence[str],
        *,
        owner: str = "",
        skipped: Mapping[str, str] | None = None,
    ) -> IndexJob:
        """Queue a job.

        Raises:
            Refusal: 429, too many wait.
        """
        self.require_room(owner)
        job = IndexJob(kind, tuple(keys), skipped=dict(skipped or {}), owner=owner)
        self._jobs[job.id] = job
        while len(self._jobs) > _KEPT:
            self._jobs.popitem(last=False)
        self._queue.put_nowait(job)
        return job

    def find(self, identity: str) -> IndexJob:
        """Return a job.

        Raises:
            Refusal: 404, there is none, or it was long ago.
        """
        job = self._jobs.get(identity)
        if job is None:
            raise Refusal(404, "no_job", f"there is no job {identity[:40]}")
        return job

    def all(self) -> list[IndexJob]:
        """Return the jobs that are remembered, oldest first."""
        return list(self._jobs.values())

    async def _run(self) -> None:
        while True:
            job = await self._queue.get()
            started = time.perf_counter()
            job.state, job.stage = "running", "starting"
            try:
                is_done = await self._work(job)
                await asyncio.to_thread(self._swapped)
            except OSError as error:
                is_done, job.problem = False, f"the worker could not be started: {error.strerror}"
            except ValueError as error:  # no JSON, or a line without end: this job fails, the next ones run
                is_done, job.problem = False, f"the worker said what is no report: {error}"
            job.seconds = round(time.perf_counter() - started, 3)
            job.stage, job.state = "", "done" if is_done else "failed"
            self._finished(job)

    async def _work(self, job: IndexJob) -> bool:
        spec = JobSpec(
            kind=job.kind,
            keys=job.keys,
            upload_dir=str(self._upload_dir.absolute()),
            index_dir=str(Path(self._rag.index_dir).absolute()),
            store=self._rag.store,
            embedding=self._rag.embedding,
            lock_wait_s=self._lock_wait_s,
        )
        pipe = asyncio.subprocess.PIPE
        command = (sys.executable, "-m", "quantserve.rag.server.indexing.worker")
        process = await asyncio.create_subprocess_exec(
            *command, stdin=pipe, stdout=pipe, stderr=pipe, limit=_LONGEST_LINE
        )
        try:
            if process.stdin is None or process.stdout is None or process.stderr is None:
                raise OSError("the worker has no pipes")
            errors = asyncio.create_task(process.stderr.read())
            process.stdin.write(spec.model_dump_json().encode())
            process.stdin.close()
            async for line in process.stdout:
                job.note_event(json.loads(line))
            said = (await errors).decode(errors="replace").strip()
            code = await process.wait()
        finally:
            if process.returncode is None:
                process.terminate()
                await process.wait()
        if code != 0 and not job.problem:
            job.problem = f"the indexing process ended with code {code}: {said[-_STDERR_TAIL:]}"
        return code == 0
