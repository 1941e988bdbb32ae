"""Prompts from files: ShareGPT format, question lists, and our own bilingual set."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

from quantserve.benchmarks.errors import BadRun
from quantserve.benchmarks.plan import Task, Turn

BILINGUAL = Path(__file__).with_name("bilingual.jsonl")


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
