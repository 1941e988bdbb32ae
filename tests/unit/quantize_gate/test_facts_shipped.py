"""The two sets that ship: large, varied, well formed, and apart from each other and from calibration text."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest

from quantserve import quantize
from quantserve.quantize.calibration import corpus, overlap
from quantserve.quantize.calibration.documents import plain_text
from quantserve.quantize.gate.facts import SETS, SetName, facts, verdict_facts
from quantserve.quantize.gate.facts.answers import CHAT_QUESTIONS
from quantserve.quantize.gate.facts.checking import is_right

ROOT = Path(quantize.__file__).resolve().parent


def words(text: str) -> tuple[str, ...]:
    return tuple(re.findall(r"\w+", text.casefold()))


@pytest.mark.parametrize(
    ("name", "language", "least"),
    [("verdict", "en", 200), ("verdict", "ko", 100), ("tuning", "en", 120), ("tuning", "ko", 40)],
)
def test_each_set_is_large_and_varied(name: SetName, language: str, least: int) -> None:
    some = [fact for fact in facts(name) if fact.language == language]
    assert len(some) >= least
    kinds = Counter(fact.kind for fact in some)
    assert len(kinds) >= 16
    assert max(kinds.values()) <= 0.15 * len(some)


def test_ids_and_questions_are_unique_over_both_sets() -> None:
    both = [fact for name in SETS for fact in facts(name)]
    per_set = [(name, fact.id) for name in SETS for fact in facts(name)]
    assert len(set(per_set)) == len(per_set)
    assert len({words(fact.question) for fact in both}) == len(both)


def test_no_fact_of_the_verdict_is_tuned_on() -> None:
    """Not the same answer to the same kind of question, such as one capital asked in two ways."""

    def keys(name: SetName) -> set[tuple[str, str, str]]:
        # kinds whose answers are facts of the world; a colour or a yes answers many questions
        named = {"capital", "geography", "people", "chemistry", "opposite", "words", "translation"}
        return {
            (fact.language, fact.kind, accepted.casefold())
            for fact in facts(name)
            if fact.kind in named
            for accepted in fact.accept
            if len(accepted) > 1
        }

    assert keys("verdict") & keys("tuning") == SAME_ANSWER_ANOTHER_QUESTION


SAME_ANSWER_ANOTHER_QUESTION = {
    ("en", "chemistry", "carbon dioxide"),  # what plants take in, what people breathe out
    ("en", "chemistry", "co2"),
    ("en", "chemistry", "hydrogen"),  # the lightest element, what balloons are filled with
    ("en", "geography", "africa"),  # Nigeria, Ghana
    ("en", "geography", "italy"),  # Milan, the boot
    ("en", "geography", "south america"),  # Brazil, Argentina
    ("en", "geography", "spanish"),  # Mexico, Argentina
    ("en", "opposite", "little"),  # the opposite of big, another word for small
    ("en", "opposite", "tiny"),
    ("ko", "people", "태조"),  # the founders of Goryeo and of Joseon
}


@pytest.mark.parametrize("name", SETS)
def test_no_question_stands_in_text_that_artifacts_are_calibrated_on(name: SetName) -> None:
    texts = [plain_text(document) for document in corpus.calibration_documents()]
    held = " ".join(" ".join(words(text)) for text in texts)
    builtin_text = " ".join(words(" ".join(plain_text(one) for one in [overlap.pydoc_evaluation_text()])))
    found = [
        fact.id for fact in facts(name) if f" {' '.join(words(fact.question))} " in f" {held} {builtin_text} "
    ]
    assert found == []


def test_an_echo_of_the_question_is_no_right_answer() -> None:
    """But where the answer is to be picked from the question: choices, extraction, formats."""
    picked = {"choice", "extraction", "format", "ordering", "spelling", "yes-no", "everyday", "science"}
    echoed = [
        fact.id
        for name in SETS
        for fact in facts(name)
        if is_right(fact, fact.question) and fact.kind not in picked
    ]
    assert echoed == []


def test_only_the_gate_reads_the_verdict_set() -> None:
    """A recipe that is chosen by the verdict's prompts would be judged by what it was fitted to."""
    readers = [
        str(path.relative_to(ROOT))
        for path in sorted(ROOT.rglob("*.py"))
        if re.search(r"verdict_facts|facts\(\"verdict\"\)|verdict\.jsonl", path.read_text(encoding="utf-8"))
    ]
    assert readers == ["gate/facts/__init__.py", "gate/keys.py", "gate/session.py"]


def test_some_prompts_are_spread_over_all_kinds() -> None:
    assert len(verdict_facts(["en"])) == sum(fact.language == "en" for fact in facts("verdict"))
    some = verdict_facts(["en", "ko"], 40)
    assert len(some) == 40
    assert len({fact.kind for fact in some}) >= 15
    assert verdict_facts(["de"]) == ()


def test_the_example_of_the_readme_is_judged() -> None:
    assert "What is the capital of France?" in {fact.question for fact in verdict_facts(["en"])}
    assert CHAT_QUESTIONS["en"][0].startswith("What is the capital of France?")
