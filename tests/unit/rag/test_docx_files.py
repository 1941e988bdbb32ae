"""DOCX: everything that is written is read, in order; what is hidden or deleted is not; spans are bounded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import docx
import pytest
from docx.oxml import parse_xml
from docx.oxml.ns import nsdecls

from quantserve.rag.loaders.registry import load

W = nsdecls("w")


def written(tmp_path: Path, *blocks: str) -> list[tuple[str, str]]:
    """Write a document of raw blocks of WordprocessingML and read it."""
    document: Any = docx.Document()
    for block in blocks:
        document.element.body.insert_element_before(parse_xml(block.replace(">", f" {W}>", 1)), "w:sectPr")
    document.save(str(tmp_path / "a.docx"))
    return [(section.heading, section.text) for section in load(tmp_path / "a.docx").sections]


def paragraph(text: str, properties: str = "", run: str = "") -> str:
    return f"<w:p><w:pPr>{properties}</w:pPr><w:r><w:rPr>{run}</w:rPr><w:t>{text}</w:t></w:r></w:p>"


@pytest.mark.parametrize(
    "block",
    [
        f"<w:sdt><w:sdtContent>{paragraph('text')}</w:sdtContent></w:sdt>",
        "<w:p><w:ins w:id='1'><w:r><w:t>text</w:t></w:r></w:ins></w:p>",
        "<w:p><w:hyperlink><w:r><w:t>text</w:t></w:r></w:hyperlink></w:p>",
        "<w:p><w:r><w:pict><w:txbxContent><w:p><w:r><w:t>text</w:t></w:r></w:p></w:txbxContent></w:pict></w:r></w:p>",
        "<w:p><w:r><w:t>te</w:t></w:r><w:r><w:t>xt</w:t></w:r>"
        "<w:del w:id='1'><w:r><w:delText>no</w:delText></w:r></w:del></w:p>",
        "<w:p><w:r><w:rPr><w:vanish/></w:rPr><w:t>no</w:t></w:r><w:r><w:t>text</w:t></w:r></w:p>",
        "<w:p><w:r><w:rPr><w:vanish w:val='0'/></w:rPr><w:t>text</w:t></w:r></w:p>",
    ],
)
def test_what_stands_in_wrappers_is_read_and_what_is_gone_is_not(block: str, tmp_path: Path) -> None:
    assert written(tmp_path, block) == [("", "text")]


@pytest.mark.parametrize(
    "properties",
    [
        "<w:pStyle w:val='Heading1'/>",
        "<w:outlineLvl w:val='0'/>",
        "<w:pStyle w:val='Title'/>",
    ],
)
def test_headings_by_style_and_outline(properties: str, tmp_path: Path) -> None:
    assert written(tmp_path, paragraph("제목", properties), paragraph("글")) == [("제목", "글")]


def test_a_list_and_a_heading_without_text(tmp_path: Path) -> None:
    found = written(
        tmp_path,
        paragraph("항목", "<w:pStyle w:val='ListBullet'/>"),
        paragraph("연차는 15일", "<w:pStyle w:val='Heading2'/>"),
        paragraph("끝", "<w:pStyle w:val='Heading1'/>"),
        paragraph("글"),
    )
    assert found == [("", "- 항목"), ("", "연차는 15일"), ("끝", "글")]


def cell(text: str, properties: str = "") -> str:
    return f"<w:tc><w:tcPr>{properties}</w:tcPr>{paragraph(text)}</w:tc>"


def test_a_table_with_merged_cells(tmp_path: Path) -> None:
    rows = (
        cell("지점") + cell("매출", "<w:gridSpan w:val='2'/>"),
        cell("서울", "<w:vMerge w:val='restart'/>") + cell("1") + cell("2"),
        cell("", "<w:vMerge/>") + cell("3") + cell("4"),
    )
    table = f"<w:tbl>{''.join(f'<w:tr>{row}</w:tr>' for row in rows)}</w:tbl>"
    assert written(tmp_path, table) == [
        ("", "| 지점 | 매출 | 매출 |\n|---|---|---|\n| 서울 | 1 | 2 |\n| 서울 | 3 | 4 |")
    ]


@pytest.mark.parametrize("value", ["250000000", "99999999999999999999", "-5", "x", ""])
def test_a_span_is_what_its_author_claims_and_no_more(value: str, tmp_path: Path) -> None:
    spanning = cell("글", f"<w:gridSpan w:val='{value}'/>")
    row = f"<w:tr><w:trPr><w:gridBefore w:val='{value}'/></w:trPr>{spanning}</w:tr>"
    ((_, text),) = written(tmp_path, paragraph("hello"), f"<w:tbl>{row}</w:tbl>")
    assert text.startswith("hello")
    assert len(text) < 10_000


def test_a_nested_tables_text_is_not_lost(tmp_path: Path) -> None:
    inner = f"<w:tbl><w:tr>{cell('안')}{cell('쪽')}</w:tr></w:tbl>"
    table = f"<w:tbl><w:tr><w:tc>{paragraph('밖')}{inner}{paragraph('끝')}</w:tc>{cell('옆')}</w:tr></w:tbl>"
    ((_, text),) = written(tmp_path, table)
    assert text.splitlines()[0] == "| 밖 안 쪽 끝 | 옆 |"
