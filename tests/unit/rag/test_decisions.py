"""Fusion, citations, languages, batches: the pure decisions."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quantserve.rag.answer.citations import SentenceStream, check_citations, cited_by
from quantserve.rag.embedding.backend import length_buckets
from quantserve.rag.retrieve.fusion import reciprocal_rank_fusion
from quantserve.rag.trust.languages import answer_languages, begins_in_language, is_in_language, is_weak


def test_fusion_prefers_what_both_rankings_have() -> None:
    fused = reciprocal_rank_fusion([[7, 3, 5], [3, 9]], rrf_k=60)
    assert [row for row, _ in fused] == [3, 7, 9, 5]
    assert fused[0][1] == pytest.approx(0.0325225, abs=1e-6)  # 1/62 + 1/61


def test_fusion_of_nothing_is_empty() -> None:
    assert reciprocal_rank_fusion([[], []], rrf_k=60) == []


@pytest.mark.parametrize(
    ("text", "mended", "cited", "invented"),
    [
        ("It is 4 bits. [1]", "It is 4 bits. [1]", (1,), 0),
        ("It is so [2][9].", "It is so [2].", (2,), 1),
        ("Both [1, 3] agree [7].", "Both [1][3] agree.", (1, 3), 1),
        ("No source [0].", "No source.", (), 1),
        ("둘 다 그렇다 [문단 2] [passage 3].", "둘 다 그렇다 [2] [3].", (2, 3), 0),
        ("배열은 a[i]로 쓴다.", "배열은 a[i]로 쓴다.", (), 0),
    ],
)
def test_invented_citations_are_removed(
    text: str, mended: str, cited: tuple[int, ...], invented: int
) -> None:
    checked = check_citations(text, range(1, 4))
    assert (checked.text, checked.cited, checked.invented) == (mended, cited, invented)


@settings(deadline=None)
@given(st.lists(st.text(alphabet="ab [],0123 passage문단\n", max_size=12), max_size=8))
def test_the_sentences_of_a_stream_are_those_of_the_whole_text(pieces: list[str]) -> None:
    stream, whole = SentenceStream(), SentenceStream()
    sentences = [sentence for piece in pieces for sentence in stream.feed(piece)] + stream.end()
    assert "".join(sentences) == "".join(pieces)
    assert sentences == [*whole.feed("".join(pieces)), *whole.end()]


def test_a_sentence_waits_for_the_citation_behind_its_stop() -> None:
    stream = SentenceStream()
    given = ("It is", " so. ", "[", "1", "]", " But")
    assert [stream.feed(piece) for piece in given] == [[], [], [], [], [], ["It is so. [1]"]]
    assert stream.end() == [" But"]


def test_a_sentence_keeps_the_citations_that_prove_it_and_gets_one_where_none_does() -> None:
    right = cited_by("It is so [2] [7]. ", (1, 2))
    assert (right.text, right.cited, right.invented) == ("It is so [2]. ", (2,), 1)
    assert not right.is_attributed
    ours = cited_by("It is so [2]. ", (3,))
    assert (ours.text, ours.cited, ours.invented, ours.is_attributed) == ("It is so. [3] ", (3,), 1, True)


@pytest.mark.parametrize(
    ("model", "setting", "languages"),
    [
        ("SmolLM2-135M-Instruct", "auto", {"en"}),
        ("HuggingFaceTB/SmolLM2-1.7B-Instruct", "auto", {"en"}),
        ("openai-community/gpt2", "auto", {"en"}),
        ("Qwen2.5-7B-Instruct", "auto", {"en", "ko"}),
        ("HuggingFaceTB/SmolLM3-3B", "auto", {"en", "ko"}),
        ("SmolLM2-135M-Instruct", "all", {"en", "ko"}),
        ("Qwen2.5-7B-Instruct", "en", {"en"}),
        ("x", "en, ko", {"en", "ko"}),
    ],
)
def test_languages_a_model_writes(model: str, setting: str, languages: set[str]) -> None:
    assert answer_languages(model, setting) == languages


@pytest.mark.parametrize(
    ("model", "weak"),
    [
        ("SmolLM2-135M-Instruct", True),
        ("HuggingFaceTB/SmolLM2-1.7B-Instruct", True),
        ("Qwen2.5-0.5B-Instruct", True),
        ("google/gemma-3-270m-it", True),
        ("Qwen2.5-1.5B-Instruct", False),
        ("Qwen2.5-7B-Instruct-GPTQ-Int4", False),
        ("Mixtral-8x7B", False),
        ("gpt-5", False),
    ],
)
def test_models_too_small_to_be_trusted(model: str, weak: bool) -> None:
    assert is_weak(model) is weak


@pytest.mark.parametrize(
    ("answer", "language", "expected"),
    [
        ("색인은 run/index에 있습니다.", "ko", True),
        ("The index lies in run/index.", "ko", False),
        ("The index lies in run/index.", "en", True),
        ("색인은 실행 폴더에 있습니다.", "en", False),
        ("42 GiB", "ko", True),
    ],
)
def test_an_answer_is_in_the_questions_language(answer: str, language: str, expected: bool) -> None:
    assert is_in_language(answer, language) is expected


@pytest.mark.parametrize(
    ("beginning", "language", "expected"),
    [
        ("They", "en", True),
        ("17", "en", None),
        ("색인", "en", None),
        (
            "색인은 세대별로 쌓인다. " * 6,
            "en",
            False,
        ),
        ("연차", "ko", True),
        ("vLLM", "ko", None),
        ("vLLM은", "ko", True),
        ("The employees may take seventeen days of leave in every year.", "ko", False),
    ],
)
def test_the_beginning_of_an_answer_tells_its_language(
    beginning: str, language: str, expected: bool | None
) -> None:
    assert begins_in_language(beginning, language) is expected


@given(st.lists(st.integers(0, 900), max_size=60))
def test_buckets_hold_every_text_once_within_the_limit(lengths: list[int]) -> None:
    batches = length_buckets(lengths, 1000)
    assert sorted(index for batch in batches for index in batch) == list(range(len(lengths)))
    assert all(
        max(lengths[index] for index in batch) * len(batch) <= 1000 for batch in batches if len(batch) > 1
    )


def test_like_lengths_share_a_batch() -> None:
    assert length_buckets([10, 500, 12, 490], 1000) == [[1, 3], [2, 0]]
