"""The sample PDFs: the committed bytes are what the generator makes, and their text reads right.

Nothing is skipped where a font is missing: the font is a pinned development package, not a system font.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from samples.build import DOCUMENTS, SOURCES, column_widths, parse, plain, render
from samples.text import pages, squeeze

NAMES = sorted(path.stem for path in SOURCES.glob("*.md"))


def _source(name: str) -> str:
    return (SOURCES / f"{name}.md").read_text(encoding="utf-8")


def test_every_pdf_has_a_source_and_there_are_at_least_three() -> None:
    assert sorted(path.stem for path in DOCUMENTS.glob("*.pdf")) == NAMES
    assert len(NAMES) >= 3


@pytest.mark.parametrize("name", NAMES)
def test_a_rebuild_gives_the_committed_bytes(name: str) -> None:
    assert render(parse(_source(name))) == (DOCUMENTS / f"{name}.pdf").read_bytes()


@pytest.mark.parametrize("name", NAMES)
def test_every_page_has_the_running_head_and_its_number(name: str) -> None:
    head = _source(name).splitlines()[0].removeprefix("% ")
    found = pages(DOCUMENTS / f"{name}.pdf")
    assert len(found) >= 3
    for number, text in enumerate(found, start=1):
        lines = text.split("\r\n")
        assert lines[0].strip() == head
        assert lines[-1].strip() == f"{number} / {len(found)}"


@pytest.mark.parametrize("name", NAMES)
def test_every_word_of_the_source_is_in_the_pdf_in_order(name: str) -> None:
    """Headings, paragraphs and code; Hangul that the font lacked would be missing here."""
    source = parse(_source(name))
    body = "".join("".join(text.split("\r\n")[1:-1]) for text in pages(DOCUMENTS / f"{name}.pdf"))
    body = "".join(body.split())
    at = 0
    for block in source.blocks:
        if block.type in ("heading", "paragraph", "fence"):
            text = block.content if block.type == "fence" else plain(block)
            at = body.find("".join(text.split()), at)
            assert at >= 0, text


def test_korean_spacing_survives_extraction() -> None:
    first = squeeze(pages(DOCUMENTS / "operations-guide.pdf")[0])
    assert (
        "둘째 이음매는 OpenAI 호환 HTTP API다. 서빙이 제공하고 RAG, 벤치마크, 모든 클라이언트가 사용한다."
        in first
    )


@pytest.mark.parametrize(
    ("page", "row"),
    [
        (3, "REGRESSION 3 품질이 기준보다 나빠졌다 방법이나 그룹 크기를 바꾼다"),
        (4, "엔진 재시작 횟수 조용히 되살아나는 장애를 드러낸다 1시간에 2회 이상"),
    ],
)
def test_table_rows_stand_on_their_page(page: int, row: str) -> None:
    assert row in squeeze(pages(DOCUMENTS / "operations-guide.pdf")[page - 1])


def test_code_stands_on_its_page_as_written() -> None:
    text = pages(DOCUMENTS / "operations-guide.pdf")[2]
    assert "make quantize-and-deploy MODEL=/data/my-model METHOD=awq ENV=local" in text


def test_only_glyphs_in_use_are_embedded() -> None:
    sizes = {path.name: path.stat().st_size for path in DOCUMENTS.glob("*.pdf")}
    assert max(sizes.values()) < 100_000, sizes  # the whole font is 4.7 MB


def test_columns_share_the_page() -> None:
    words = [[10.0, 5.0], [6.0, 20.0]]
    lines = [[10.0, 5.0], [6.0, 60.0]]
    # 14.5 and 24.5 are the least (longest word and padding); the second column takes the 61 left over.
    assert column_widths(lines, words, total=100.0) == pytest.approx((14.5, 85.5))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("# No running head\n", "begins with the line '% running head'"),
        ("% head\n# Title\n\n> quoted\n", "may not hold a blockquote"),
    ],
)
def test_a_source_that_cannot_be_set_is_refused(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        render(parse(text))


def test_lists_keep_their_marks(tmp_path: Path) -> None:
    path = tmp_path / "list.pdf"
    path.write_bytes(render(parse("% 머리글\n# 제목\n\n1. 하나\n2. 둘\n\n- 점\n")))
    assert squeeze(pages(path)[0]) == "머리글 제목 1. 하나 2. 둘 • 점 1 / 1"
