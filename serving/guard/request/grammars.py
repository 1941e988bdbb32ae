"""Schemas, patterns and grammars that an answer shall follow: compiled aside before the engine sees them.

constraints(body)           → what a request's answer must follow   pure
Compiler.check(constraint)  → refuses what does not compile, or not within its share of processor time

The engine compiles on the thread that streams everybody's answers, without a limit, and answers 500 to some
mistakes. A process of its own does the same first: a mistake is a 400 here, and what would take long is
ended without anybody else waiting for it. What was compiled once is remembered.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from quantserve.core.http.refusal import Refusal, bad_value, too_large
from quantserve.serving.guard.request.conversations import function_of, parameters_of
from quantserve.serving.guard.request.grammar_worker import TOO_LARGE, TOO_LONG, UNREADABLE

_MODULE = "quantserve.serving.guard.request.grammar_worker"
_PRELOAD = "LD_PRELOAD"
_WORKERS = 2
_MOST_WAITING = 64
_REMEMBERED = 512
_MOST_MESSAGE_CHARS = 300
_WALL_TIMES = 40
"""A busy machine gives a process a small part of a processor; nobody waits longer than this for one."""
_LINE_BYTES = 1 << 22
_START_S = 60.0
_NO_WAY_ON = "NoExtensionBias"
"""What llguidance says of a grammar that lets nothing through."""


@dataclass(frozen=True, slots=True)
class Constraint:
    """One form an answer must have: `kind` is json, regex, choice, grammar or structural_tag."""

    kind: str
    text: str
    field: str


def constraints(body: dict[str, Any]) -> Iterator[Constraint]:
    """Yield what the answer to a request must follow; fields of a wrong type are the engine's to refuse."""
    yield from _formats(body)
    given = body.get("structured_outputs")
    if isinstance(given, dict):
        for kind in ("json", "regex", "choice", "grammar", "structural_tag"):
            if given.get(kind) is not None:
                yield _constraint(kind, given[kind], "structured_outputs")
    yield from _tools(body)


def _formats(body: dict[str, Any]) -> Iterator[Constraint]:
    """OpenAI's response_format, the text.format of /v1/responses, the output_config of /v1/messages."""
    for field, below in (("response_format", None), ("text", "format"), ("output_config", "format")):
        found = body.get(field)
        if below is not None:
            found = found.get(below) if isinstance(found, dict) else None
        if not isinstance(found, dict):
            continue
        kind = found.get("type")
        if kind == "json_schema":
            holder = found.get("json_schema", found)
            schema = holder.get("schema") if isinstance(holder, dict) else None
            if schema is not None:
                yield _constraint("json", schema, field)
        elif kind == "structural_tag":
            yield _constraint("structural_tag", found, field)


def every_tool_may_be_called(choice: Any) -> bool:
    """Whether a call is demanded, of whichever tool, in OpenAI's or Anthropic's words."""
    return choice == "required" or (isinstance(choice, dict) and choice.get("type") == "any")


def _tools(body: dict[str, Any]) -> Iterator[Constraint]:
    """The call that is demanded, in the form that the engine makes of the tools' parameters."""
    choice = body.get("tool_choice")
    tools = [found for tool in body.get("tools") or () if (found := function_of(tool))]
    if every_tool_may_be_called(choice):
        if tools:
            yield _constraint("json", _joined(tools), "tools")
    elif isinstance(choice, dict) and choice.get("type") not in ("auto", "none"):
        name = choice.get("function", choice)
        name = name.get("name") if isinstance(name, dict) else None
        # One that is not among them is the engine's to refuse.
        yield from (_constraint("json", parameters_of(t), "tools") for t in tools if t.get("name") == name)


def _joined(tools: list[dict[str, Any]]) -> dict[str, Any]:
    calls: list[dict[str, Any]] = []
    definitions: dict[str, Any] = {}
    for tool in tools:
        parameters = parameters_of(tool)
        if isinstance(found := parameters.get("$defs"), dict):
            definitions.update(found)
        call = {"name": {"type": "string", "enum": [tool.get("name")]}, "parameters": parameters}
        calls.append({"properties": call, "required": ["name", "parameters"]})
    schema = {"type": "array", "minItems": 1, "items": {"type": "object", "anyOf": calls}}
    return {**schema, "$defs": definitions} if definitions else schema


def _constraint(kind: str, value: Any, field: str) -> Constraint:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return Constraint(kind, text, field)


class Compiler:
    """Processes that compile, started when the first constraint comes."""

    def __init__(self, tokenizer: Path, cpu_s: float, python: str = sys.executable) -> None:
        """`tokenizer` is the checkpoint's directory; `cpu_s` is what one compilation may take."""
        self._command = (python, "-m", _MODULE, str(tokenizer))
        self._cpu_s = cpu_s
        self._idle: list[Process] = []
        self._room = asyncio.Semaphore(_WORKERS)
        self._waiting = 0
        self._known: OrderedDict[bytes, str | None] = OrderedDict()

    async def check(self, constraint: Constraint) -> None:
        """Let a constraint pass.

        Raises:
            Refusal: 400, it does not compile or takes too long; 429, too many wait for their turn.
        """
        digest = hashlib.sha256(
            f"{constraint.kind}\0{constraint.text}".encode("utf-8", "surrogatepass")
        ).digest()
        if digest in self._known:
            self._known.move_to_end(digest)
            problem = self._known[digest]
        else:
            problem = await self._compile(constraint)
            self._known[digest] = problem
            if len(self._known) > _REMEMBERED:
                self._known.popitem(last=False)
        if problem is not None:
            raise _refused(constraint, problem, self._cpu_s)

    async def _compile(self, constraint: Constraint) -> str | None:
        if self._waiting >= _MOST_WAITING:
            raise Refusal(
                429, "queue_full", f"{_MOST_WAITING} schemas wait to be compiled; try again", retry_after_s=2
            )
        self._waiting += 1
        try:
            async with self._room:
                return await self._ask(constraint)
        finally:
            self._waiting -= 1

    async def _ask(self, constraint: Constraint) -> str | None:
        """Have a worker compile; one that has died or does not answer is replaced next time."""
        worker = self._idle.pop() if self._idle else await self._start()
        asked = {"kind": constraint.kind, "text": constraint.text, "cpu_s": self._cpu_s}
        line = b""
        try:
            line = await asyncio.wait_for(
                _exchange(worker, json.dumps(asked).encode() + b"\n"), _START_S + _WALL_TIMES * self._cpu_s
            )
        except TimeoutError:
            line = b""
        finally:
            if line:
                self._idle.append(worker)
            elif worker.returncode is None:
                worker.kill()
        if not line:
            message = "schemas cannot be compiled now; try again"
            raise Refusal(429, "queue_full", message, retry_after_s=2)
        problem: str | None = json.loads(line)["problem"]
        return problem

    async def _start(self) -> Process:
        environment = {name: value for name, value in os.environ.items() if name != _PRELOAD}
        return await asyncio.create_subprocess_exec(
            *self._command,
            stdin=PIPE,
            stdout=PIPE,
            stderr=DEVNULL,
            limit=_LINE_BYTES,
            env=environment,
        )

    async def close(self) -> None:
        """End the processes."""
        while self._idle:
            worker = self._idle.pop()
            if worker.returncode is None:
                worker.kill()
            await worker.wait()


async def _exchange(worker: Process, line: bytes) -> bytes:
    """Return a worker's answer to a line, nothing when it ended."""
    if worker.stdin is None or worker.stdout is None:
        return b""
    try:
        worker.stdin.write(line)
        await worker.stdin.drain()
    except (BrokenPipeError, ConnectionResetError):
        return b""
    return await worker.stdout.readline()


def _refused(constraint: Constraint, problem: str, cpu_s: float) -> Refusal:
    field = constraint.field
    if problem == TOO_LONG:
        return too_large(f"{field} takes more than {cpu_s:g} s to compile; make it simpler", field)
    if problem == TOO_LARGE:
        return too_large(f"{field} takes too much memory to compile; make it simpler", field)
    if problem == UNREADABLE:
        return bad_value(f"{field} cannot be followed: it has no form that can be compiled", field)
    lines = [line.strip() for line in problem.splitlines() if line.strip()]
    message = " ".join(lines)[:_MOST_MESSAGE_CHARS] or "it cannot be compiled"
    if message == _NO_WAY_ON:
        message = "no answer can ever be complete under it"
    return bad_value(f"{field} cannot be followed: {message}", field)
