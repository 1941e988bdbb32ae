"""A workload written as text, as the command line and the report name it, and its prompts.

synthetic:prompt=128,output=64              exact token counts; ranges as 16-256
synthetic:prompt=512,output=32,shared=0.8   80 % of each prompt is one common prefix
synthetic:prompt=64,output=32,turns=4,chat  conversations of four turns through the chat template
sharegpt:FILE[,turns=3,output=256]          conversations in ShareGPT format
questions:FILE[,output=128]                 JSON lines with a question each, such as the RAG set's
bilingual[:output=128]                      our own Korean and English set

The same seed makes the same prompts.
"""

from __future__ import annotations

import dataclasses
import json
import random
from pathlib import Path
from typing import Any

from quantserve.benchmarks.errors import BadOption, BadRun
from quantserve.benchmarks.load.plan import Task, Turn
from quantserve.benchmarks.load.synthetic import Spread, Synthetic, TokenCounter, make

_KEYS = {
    "synthetic": {"prompt", "output", "shared", "turns", "chat"},
    "sharegpt": {"turns", "output"},
    "questions": {"output"},
    "bilingual": {"output"},
}


BILINGUAL = Path(__file__).with_name("bilingual.jsonl")


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

    def tasks(self, count: int, seed: int, counter: TokenCounter, wording: int = 0) -> list[Task]:
        """Make `count` tasks; another `wording` gives synthetic ones the same lengths in other words."""
        if self.kind == "synthetic":
            spec = Synthetic(self.prompt, self.output, self.shared, self.turns, self.chat)
            return make(spec, count, seed, counter, wording)
        if self.kind == "sharegpt":
            return sharegpt(Path(self.path), count, seed, turns=self.turns, max_tokens=self.output.high)
        path = BILINGUAL if self.kind == "bilingual" else Path(self.path)
        return questions(path, count, seed, max_tokens=self.output.high)


def parse_workload(text: str) -> Workload:
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


def sharegpt(path: Path, count: int, seed: int, *, turns: int = 1, max_tokens: int = 256) -> list[Task]:
    """Read conversations: `[{"conversations": [{"from": "human", "value": …}, {"from": "gpt", …}]}]`.

    The answers in the file only set how long ours may be (about four characters a token, at most
    `max_tokens`); the conversation goes on with what the measured server really answered.

    Raises:
        BadRun: the file is missing, no JSON, or holds no conversation that starts with a human.
    """
    rows = _rows(path)
    usable = [pairs for row in rows if (pairs := _pairs(row))]
    if not usable:
        raise BadRun(
            f"{path} holds no ShareGPT conversation", mend="Each needs conversations from human and gpt"
        )
    random.Random(seed).shuffle(usable)
    return [
        Task(
            id=number,
            turns=[
                Turn(
                    prompt=[{"role": "user", "content": question}],
                    max_tokens=max(4, min(max_tokens, len(answer) // 4)),
                )
                for question, answer in usable[number % len(usable)][:turns]
            ],
        )
        for number in range(count)
    ]


def questions(path: Path, count: int, seed: int, *, max_tokens: int, distinct: bool = True) -> list[Task]:
    """Read JSON lines with a `question` (or `prompt`); repeated rows get a number so that they differ.

    Raises:
        BadRun: the file is missing or a line has no question.
    """
    texts = []
    for row in _rows(path):
        text = row.get("question") or row.get("prompt")
        if not isinstance(text, str):
            raise BadRun(f"{path}: a row has no question")
        texts.append(text)
    if not texts:
        raise BadRun(f"{path} holds no question")
    chance = random.Random(seed)
    chance.shuffle(texts)
    return [
        Task(
            id=number,
            turns=[
                Turn(
                    prompt=[
                        {
                            "role": "user",
                            "content": (f"({chance.randrange(10**6)}) " if distinct else "")
                            + texts[number % len(texts)],
                        }
                    ],
                    max_tokens=max_tokens,
                )
            ],
        )
        for number in range(count)
    ]


def _rows(path: Path) -> list[dict[str, Any]]:
    if not path.is_file():
        raise BadRun(f"{path} does not exist", mend="Give a JSON or JSON-lines file")
    text = path.read_text(encoding="utf-8")
    try:
        if text.lstrip().startswith("["):
            rows = json.loads(text)
        else:
            rows = [json.loads(line) for line in text.splitlines() if line.strip()]
    except ValueError as error:
        raise BadRun(f"{path} is no JSON: {error}") from error
    if not all(isinstance(row, dict) for row in rows):
        raise BadRun(f"{path}: a row is no object")
    return list(rows)


def _pairs(row: dict[str, Any]) -> list[tuple[str, str]]:
    talk = row.get("conversations") or []
    pairs = []
    for asked, answered in zip(talk[::2], talk[1::2], strict=False):
        if asked.get("from") not in {"human", "user"} or answered.get("from") not in {"gpt", "assistant"}:
            break
        pairs.append((str(asked.get("value", "")), str(answered.get("value", ""))))
    return pairs
