from __future__ import annotations

from pathlib import Path

import pytest

from samples.text import headings, language, page_count, pages, squeeze


def test_html_text_is_what_a_reader_sees(tmp_path: Path) -> None:
    path = tmp_path / "a.html"
    path.write_text(
        "<html><head><title>hidden</title><style>p { x: y }</style></head>"
        "<body><h2>A &amp; B</h2><p>one <code>two</code>.</p><p>three</p></body></html>"
    )
    assert squeeze(pages(path)[0]) == "A & B one two. three"
    assert headings(path) == ["A & B"]


def test_a_comment_in_code_is_no_heading(tmp_path: Path) -> None:
    path = tmp_path / "a.md"
    path.write_text("# Real\n\n```\n# not one\n```\n\n## Second\n")
    assert headings(path) == ["Real", "Second"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("연차는 며칠인가요?", "ko"),
        ("desc_act를 켜고 GPTQ를 돌리면 어떻게 되나요?", "ko"),
        ("What is a KV cache?", "en"),
        ("The assistant is called 가온 in our company handbook.", "en"),
    ],
)
def test_language(text: str, expected: str) -> None:
    assert language(text) == expected


@pytest.mark.parametrize(("text", "expected"), [("가" * 900, 0.5), ("a" * 6_000, 2.0)])
def test_pages_are_counted_by_characters(tmp_path: Path, text: str, expected: float) -> None:
    path = tmp_path / "a.txt"
    path.write_text(text)
    assert page_count(path) == expected
