import pytest

from quantserve.rag.loaders.pdf import page_ranges
from quantserve.rag.loaders.pdf_text import clean_page, join_lines, running_lines, without_running_lines


def no_glue(pieces: list[str]) -> str:
    raise AssertionError(f"no language model is needed for {pieces}")


def test_hyphens_and_hidden_characters_become_plain() -> None:
    assert clean_page("per\u2011token\u00ad \u200bint4\r\n\r\n둘째") == ["per-token int4", "둘째"]


def test_decomposed_hangul_is_composed() -> None:
    assert clean_page("\u1112\u1161\u11ab") == ["한"]


def test_repeated_heads_and_page_numbers_go() -> None:
    pages = [
        [f"운영 안내서 {n}쪽", f"본문 {word}", f"- {n} -"] for n, word in ((1, "가"), (2, "나"), (3, "다"))
    ]
    repeated = running_lines(pages)
    assert [without_running_lines(lines, repeated) for lines in pages] == [
        ["본문 가"],
        ["본문 나"],
        ["본문 다"],
    ]


def test_a_line_on_two_pages_is_no_running_head() -> None:
    assert running_lines([["같은 줄", "a"], ["같은 줄", "b"]]) == set()


def test_a_blank_before_the_break_tells_words_from_breaks_inside_words() -> None:
    lines = [
        "검색 증강 생성은 질문과 가까운 문단을 ",
        "찾아서 답을 만드는 방법이다 그래서 데이",
        "터가 중요하다",
    ]
    assert join_lines([lines], no_glue) == [
        "검색 증강 생성은 질문과 가까운 문단을 찾아서 답을 만드는 방법이다 그래서 데이터가 중요하다"
    ]


def test_without_such_blanks_the_language_model_decides() -> None:
    asked: list[list[str]] = []

    def glue(pieces: list[str]) -> str:
        asked.append(pieces)
        return "".join(pieces)

    assert join_lines([["가중치를 담은 데이", "터는 파일에 있다"]], glue) == [
        "가중치를 담은 데이터는 파일에 있다"
    ]
    assert asked == [["가중치를 담은 데이", "터는 파일에 있다"]]


@pytest.mark.parametrize(
    ("lines", "text"),
    [
        (["the quantiza-", "tion of weights in the model"], "the quantization of weights in the model"),
        (
            ["the weights of\ufffe", "fered to all of the clients"],
            "the weights offered to all of the clients",
        ),
        (
            ["a line of English text", "goes on here in the next"],
            "a line of English text goes on here in the next",
        ),
        (
            ["목록은 다음과 같이 적는다 하나", "• 첫째 항목은 여기에 적는다"],
            "목록은 다음과 같이 적는다 하나\n• 첫째 항목은 여기에 적는다",
        ),
    ],
)
def test_lines_join_into_paragraphs(lines: list[str], text: str) -> None:
    assert join_lines([lines], no_glue) == [text]


def test_page_ranges_are_short() -> None:
    assert page_ranges([1, 2, 3, 7, 9, 10]) == "1–3, 7, 9–10"
