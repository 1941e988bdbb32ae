"""HTML and Markdown: what is shown is read, in order; what is not shown is left out."""

from __future__ import annotations

from pathlib import Path

import pytest

from quantserve.rag.loaders.html import to_markdown
from quantserve.rag.loaders.html_hidden import blocks_of, hides_or_shows
from quantserve.rag.loaders.markdown import split_headings, without_comments
from quantserve.rag.loaders.registry import load

SHOWN = "<p>shown</p>"


@pytest.mark.parametrize(
    "hidden",
    [
        "<p hidden>no</p>",
        '<p aria-hidden="true">no</p>',
        '<p style="display:none">no</p>',
        '<p style="color:red; DISPLAY : None !important">no</p>',
        '<div style="visibility:hidden"><p>no</p></div>',
        '<p style="opacity:0.0">no</p>',
        '<p style="font-size:0px">no</p>',
        '<p style="position:absolute;left:-9999px">no</p>',
        '<p style="text-indent:-1000em">no</p>',
        '<p style="clip:rect(0 0 0 0)">no</p>',
        '<p style="color:#fff;background-color:#FFF">no</p>',
        "<style>.x{display:none}</style><p class='a x'>no</p>",
        "<style>#x,.y{visibility:hidden}</style><p id=x>no</p><p class=y>no</p>",
        "<style>div.x > p{display:none}</style><div class=x><p>no</p></div>",
        "<style>@media screen{.x{display:none}}</style><p class=x>no</p>",
        "<style>/* .x{} */ .x { /* a */ display: none }</style><p class=x>no</p>",
        "<dialog>no</dialog>",
        "<template>no</template>",
        "<noscript>no</noscript>",
        "<script>no</script>",
        "<!-- no -->",
        "<select><option>no</option></select>",
    ],
)
def test_what_a_page_does_not_show_is_not_read(hidden: str) -> None:
    assert to_markdown(f"<body>{hidden}{SHOWN}</body>") == "shown"


@pytest.mark.parametrize(
    "page",
    [
        "<form id=aspnet>{}</form>",
        "<article><aside>{}</aside></article>",
        "<style>.x{{display:none}} .x{{display:block}}</style><div class=x>{}</div>",
        "<style>.x{{display:none}}</style><div class=x style='display:block'>{}</div>",
        "<style>@media print{{.x{{display:none}}}}</style><div class=x>{}</div>",
        "<style>.x:hover{{display:none}}</style><div class=x>{}</div>",
        "<style>.x[{{display:none</style><div class=x>{}</div>",
        "<style>body{{opacity:0}}</style>{}",
        "<details><summary></summary>{}</details>",
        "<div style='opacity:0.5;left:-9px'>{}</div>",
        "<dialog open>{}</dialog>",
        "{}<div" + " x" * 5 + ">" * 2000,
    ],
)
def test_what_a_page_shows_is_read(page: str) -> None:
    assert "shown" in to_markdown(f"<body>{page.format(SHOWN)}</body>")


def test_rules_are_found_in_any_sheet() -> None:
    assert list(blocks_of("a{x:1}@font-face{y:2}@media screen{b{z:3}}c{w:4")) == [
        ("a", "x:1"),
        ("b", "z:3"),
        ("c", "w:4"),
    ]
    assert list(blocks_of("@media all{" * 5000)) == []
    assert hides_or_shows("display:block") is False
    assert hides_or_shows("color:red") is None


def test_a_pages_table_keeps_rows_and_headers() -> None:
    page = (
        "<table><caption>지점</caption><tr><th>이름<th>매출<th>직원<tr><td>서울<td>1200<td>35"
        "<tr><td>부산<td><td>12<tr><td colspan=99999999>없음</table>"
    )
    assert to_markdown(page).splitlines() == [
        "지점",
        "",
        "| 이름 | 매출 | 직원 |",
        "|---|---|---|",
        "| 서울 | 1200 | 35 |",
        "| 부산 |  | 12 |",
        "| 없음 |  |  |",
    ]


def test_a_table_that_lays_out_a_page_becomes_blocks() -> None:
    page = "<table><tr><td><h2>제목</h2>글<td><table><tr><td>a<td>b</table></table>"
    assert to_markdown(page) == "## 제목\n\n글\n\n| a | b |\n|---|---|"


@pytest.mark.parametrize("span", ["rowspan", "colspan"])
def test_a_huge_span_makes_no_huge_table(span: str) -> None:
    assert len(to_markdown(f"<table><tr><td {span}=250000000>a<td>b<tr><td>c<td>d</table>")) < 10_000


def test_a_deeply_nested_page_is_read() -> None:
    assert "deep" in to_markdown("<div>" * 150 + "deep" + "</div>" * 150)


def test_underlined_headings() -> None:
    text = "회사 규정\n=========\n\n휴가\n----\n\n연차는 15일이다.\n\n병가\n---\n\n병가는 60일이다.\n"
    sections = split_headings(text, is_markdown=True)
    assert [(section.heading, section.text) for section in sections] == [
        ("회사 규정 › 휴가", "연차는 15일이다."),
        ("회사 규정 › 병가", "병가는 60일이다."),
    ]
    assert all(text[s.start : s.start + len(s.text)] == s.text for s in sections)


@pytest.mark.parametrize(
    "text",
    [
        "글\n\n---\n\n글",
        "첫 줄\n둘째 줄\n---",
        "- 항목\n---",
        "| a | b |\n---",
        "```\n코드\n---\n```",
        "1. 항목\n---",
        "글\n- - -",
    ],
)
def test_a_line_of_dashes_that_underlines_nothing(text: str) -> None:
    assert [section.heading for section in split_headings(text, is_markdown=True)] == [""]


def test_a_heading_without_text_says_something() -> None:
    text = "# 규정\n## 연차는 15일이다\n## 병가\n60일이다.\n# 끝\n"
    sections = split_headings(text, is_markdown=True)
    assert [(section.heading, section.text) for section in sections] == [
        ("규정", "연차는 15일이다"),
        ("규정 › 병가", "60일이다."),
        ("", "끝"),
    ]
    assert all(text[s.start : s.start + len(s.text)] == s.text for s in sections)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a <!-- no --> b", "a  b"),
        ("a\n<!-- no\nno\n-->\nb", "a\n\n\n\nb"),
        ("```\n<!-- kept -->\n```\n", "```\n<!-- kept -->\n```\n"),
        ("a <!-- never closed\nno", "a \n\n"),
        ("plain", "plain"),
    ],
)
def test_comments_are_left_out(text: str, shown: str) -> None:
    assert without_comments(text).rstrip("\n") == shown.rstrip("\n")


def test_a_heading_of_a_million_blanks_takes_no_time() -> None:
    sections = split_headings("# a" + " " * 1_000_000 + "b\n글", is_markdown=True)
    assert [section.text for section in sections] == ["글"]


@pytest.mark.parametrize(
    ("text", "joined"),
    [
        (
            "데비안 preinst, postinst, prerm, 그리고 postrm script 는 무엇인\n가요?\n\n"
            "    패키지를 설치하기 전에 자동으로 실행되는 run before a package 실행 가능\n"
            "    한 스크립트입니다.",
            "데비안 preinst, postinst, prerm, 그리고 postrm script 는 무엇인가요?\n\n"
            "    패키지를 설치하기 전에 자동으로 실행되는 run before a package 실행 가능한 스크립트입니다.",
        ),
        (
            "The keeper lights the lamp at sunset and writes the time of it\n"
            "into the log, which is kept beside the stairs until the spring\n"
            "when it is bound and taken down into the cellar of the library\nfor good.",
            "The keeper lights the lamp at sunset and writes the time of it into the log, which is kept "
            "beside the stairs until the spring when it is bound and taken down into the cellar of the "
            "library for good.",
        ),
    ],
    ids=["korean", "english"],
)
def test_wrapped_paragraphs_are_joined(text: str, joined: str, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text(text, encoding="utf-8")
    (section,) = load(tmp_path / "a.txt").sections
    assert section.text == joined.strip()


@pytest.mark.parametrize(
    "text",
    [
        "참석: 문서팀 오세린, 플랫폼팀 구도현, 품질팀 한여울, AI연구실 민재하\n기록: 구도현\n"
        "안건: 표를 어떻게 나눌 것인가",
        "- the first item of a list that is rather long for a line\n"
        "- the second item of the list\n- the third",
        "Roses are red\nViolets are blue\nSugar is sweet\nAnd so are you",
        "2026-01-01 12:00:01 INFO server started on port 8000 in 3.2 seconds\n"
        "2026-01-01 12:00:02 WARN no keys\n2026-01-01 12:00:09 INFO ready",
        "name      age   city of birth and of residence\nKim        31   Seoul\nLee        29   Busan",
    ],
)
def test_other_lines_stay_lines(text: str, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text(text, encoding="utf-8")
    (section,) = load(tmp_path / "a.txt").sections
    assert section.text == text
