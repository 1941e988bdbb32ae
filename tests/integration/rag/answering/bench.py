"""Answerers over two small documents, for one fake model server and one cache file."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from quantserve.rag.answer import Answerer
from quantserve.rag.cache.calibration import calibration_pairs
from quantserve.rag.cache.judge import pair_text
from quantserve.rag.config import AnswerConfig, CacheConfig, RetryConfig
from quantserve.rag.llm import ModelServer
from quantserve.rag.retrieve import Searcher
from quantserve.rag.trust.calibration import Calibration
from tests.fakes.openai_server import FakeServer

BULBS = "Where are the spare bulbs kept?"
CELLAR = "They are kept in the cellar [1]."
DOCUMENTS = {
    "lighthouse.md": (
        "# Lighthouse\n\n## Lamp\n\n"
        "The keeper lights the lamp at sunset and writes the time into the log.\n\n"
        "## Fog\n\nIn fog the horn sounds twice a minute.\n\n"
        "## Stock\n\nSpare bulbs are kept in the cellar. A bulb burns for 900 hours.\n"
    ),
    "휴가.md": (
        "# 휴가 규정\n\n## 연차\n\n입사 3년 차 직원은 한 해에 17일의 연차를 쓴다.\n\n"
        "## 경조 휴가\n\n조부모가 돌아가시면 사흘을 쉰다. 신청은 인사팀에 한다.\n"
    ),
}


@dataclass
class Bench:
    """Makes answerers for one server and one cache file."""

    searcher: Searcher
    server: FakeServer
    cache_file: Path

    def answerer(self, *, calibration: Calibration | None = None, **settings: Any) -> Answerer:
        config = AnswerConfig(
            base_url=self.server.base_url,
            describe_ttl_s=0.0,
            cache=CacheConfig(path=self.cache_file),
            retry=RetryConfig(first_wait_s=0.01, total_wait_s=5.0),
        )
        config = replace(config, **settings)
        return Answerer(self.searcher, ModelServer(config), config, calibration=calibration)

    @property
    def asked(self) -> int:
        """Completions asked for so far."""
        return len(self.server.chats)

    @property
    def verdicts(self) -> int:
        """How many of them asked for the semantic cache's verdict."""
        return sum("response_format" in chat.body for chat in self.server.chats)


def judging(*confirmed: tuple[str, str]) -> tuple[tuple[str, str], ...]:
    """Answers of a model that judges the built-in pairs rightly, and confirms these, too, but no others."""
    same = [*confirmed, *((pair.one, pair.other) for pair in calibration_pairs() if pair.same)]
    texts = [pair_text(*order) for pair in same for order in (pair, pair[::-1])]
    return (*((text, '{"same_answer": "yes"}') for text in texts), ("Question 1: ", '{"same_answer": "no"}'))


def until(happens: Callable[[], bool]) -> None:
    """Wait for something that happens in another thread."""
    deadline = time.monotonic() + 20
    while not happens():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.01)
