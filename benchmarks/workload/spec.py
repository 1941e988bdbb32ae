"""A workload written as text, as the command line and the report name it.

synthetic:prompt=128,output=64              exact token counts; ranges as 16-256
synthetic:prompt=512,output=32,shared=0.8   80 % of each prompt is one common prefix
synthetic:prompt=64,output=32,turns=4,chat  conversations of four turns through the chat template
sharegpt:FILE[,turns=3,output=256]          conversations in ShareGPT format
questions:FILE[,output=128]                 JSON lines with a question each, such as the RAG set's
bilingual[:output=128]                      our own Korean and English set
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

from quantserve.benchmarks.errors import BadOption
from quantserve.benchmarks.plan import Task
from quantserve.benchmarks.workload import files
from quantserve.benchmarks.workload.synthetic import Counter, Spread, Synthetic, make

_KEYS = {
    "synthetic": {"prompt", "output", "shared", "turns", "chat"},
    "sharegpt": {"turns", "output"},
    "questions": {"output"},
    "bilingual": {"output"},
}


@dataclasses.dataclass(frozen=True)
class Workload:
    """What is asked, before it is made for a server and a seed."""

    text: str
    kind: str
    path: str = ""
    prompt: Spread = dataclasses.field(default_factory=lambda: Spread(128, 128))
    output: Spread = dataclasses.field(default_factory=lambda: Spread(64, 64))
    shared: float = 0.0
    turns: int = 1
    chat: bool = False

    @property
    def exact(self) -> bool:
        """Whether prompt lengths and answer lengths are set (and answers forced to theirs)."""
        return self.kind == "synthetic"

    def tasks(self, count: int, seed: int, counter: Counter, wording: int = 0) -> list[Task]:
        """Make `count` tasks; another `wording` gives synthetic ones the same lengths in other words."""
        if self.kind == "synthetic":
            spec = Synthetic(self.prompt, self.output, self.shared, self.turns, self.chat)
            return make(spec, count, seed, counter, wording)
        if self.kind == "sharegpt":
            return files.sharegpt(Path(self.path), count, seed, turns=self.turns, max_tokens=self.output.high)
        path = files.BILINGUAL if self.kind == "bilingual" else Path(self.path)
        return files.questions(path, count, seed, max_tokens=self.output.high)


def parse(text: str) -> Workload:
    """Read a workload.

    Raises:
        BadOption: it is none of the forms above.
    """
    kind, _, rest = text.partition(":")
    if kind not in _KEYS:
        raise BadOption(f"{kind!r} is no workload", mend=f"Use one of {', '.join(_KEYS)}")
    parts = [part for part in rest.split(",") if part]
    path = parts.pop(0) if kind in {"sharegpt", "questions"} and parts and "=" not in parts[0] else ""
    if kind in {"sharegpt", "questions"} and not path:
        raise BadOption(f"{text!r} names no file", mend=f"Write {kind}:FILE")
    workload = Workload(text=text, kind=kind, path=path, chat=kind != "synthetic")
    for part in parts:
        key, _, value = part.partition("=")
        if key not in _KEYS[kind]:
            raise BadOption(f"{text!r}: {key!r} is unknown", mend=f"{kind} knows {', '.join(_KEYS[kind])}")
        try:
            workload = _with(workload, key, value)
        except ValueError as error:
            raise BadOption(f"{text!r}: {value!r} is no value of {key}") from error
    return workload


def _with(workload: Workload, key: str, value: str) -> Workload:
    match key:
        case "prompt":
            return dataclasses.replace(workload, prompt=Spread.parse(value))
        case "output":
            return dataclasses.replace(workload, output=Spread.parse(value))
        case "shared":
            share = float(value)
            if not 0 <= share < 1:
                raise ValueError(value)
            return dataclasses.replace(workload, shared=share)
        case "turns":
            if int(value) < 1:
                raise ValueError(value)
            return dataclasses.replace(workload, turns=int(value))
        case _:
            return dataclasses.replace(workload, chat=value in {"", "1", "true", "yes"})
