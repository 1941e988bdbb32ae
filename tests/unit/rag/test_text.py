import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quantserve.rag.text import language_of, normalise, split_sentences, well_formed, well_formed_pieces


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        (
            "색인은 세대별로 쌓인다. 이름 바꾸기 한 번으로 바뀌나요? 그렇습니다!",
            ["색인은 세대별로 쌓인다.", "이름 바꾸기 한 번으로 바뀌나요?", "그렇습니다!"],
        ),
        ("버전은 0.32.0이다. 3.5초 걸렸다.", ["버전은 0.32.0이다.", "3.5초 걸렸다."]),
        ('그는 "끝났다." 하고 말했다. 다음', ['그는 "끝났다."', "하고 말했다.", "다음"]),
        ("Use e.g. GPTQ. Dr. Kim agreed.", ["Use e.g. GPTQ.", "Dr. Kim agreed."]),
        ("3. 매일 쓰는 명령\n다음 줄", ["3. 매일 쓰는 명령", "다음 줄"]),
        ("끝이 없는 문장", ["끝이 없는 문장"]),
        ("", []),
    ],
)
def test_splits_korean_and_english_sentences(text: str, sentences: list[str]) -> None:
    assert [sentence.strip() for sentence in split_sentences(text)] == sentences


@given(st.text(alphabet="가다. 요?\n ab!\"'1", max_size=80))
def test_sentences_join_to_the_text(text: str) -> None:
    assert "".join(split_sentences(text)) == text


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("GPTQ 4비트 모델은 어떻게 만드나요?", "ko"),
        ("vLLM의 max-num-seqs 기본값은?", "ko"),
        ("What is the default of max-num-seqs?", "en"),
        ("What does 양자화 mean in English documents?", "en"),
        ("42?", "en"),
    ],
)
def test_language_of_a_question(text: str, language: str) -> None:
    assert language_of(text) == language


def test_normalise_composes_loose_jamo_and_blanks() -> None:
    assert normalise(unicodedata.normalize("NFD", " 한국어 \t 문서 ")) == "한국어 문서"


@given(st.lists(st.text(st.sampled_from("a가\ud83d\ude00"), max_size=4)))
def test_pieces_of_a_text_are_well_formed_as_the_whole_is(pieces: list[str]) -> None:
    joined = "".join(well_formed_pieces(pieces))
    assert joined == well_formed("".join(pieces))
    joined.encode()


def test_halves_of_a_pair_in_two_pieces_are_one_character() -> None:
    assert "".join(well_formed_pieces(["a\ud83d", "", "\ude00b", "\ud83d"])) == "a\U0001f600b\ufffd"
