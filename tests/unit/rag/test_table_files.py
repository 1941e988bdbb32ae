"""Tables: separators by rows, quoted line breaks, bounds; cells laid out whatever they claim to span."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quantserve.rag.errors import UnreadableDocument
from quantserve.rag.loaders.grid import MAX_COLUMNS, Cell, lay_out, table_text
from quantserve.rag.loaders.registry import load

RECORDS = [
    ["이름", "부서", "비고"],
    ["김철수", "개발", "줄이\n나뉜 비고"],
    ["이영희", "영업", "쉼표, 세미; 안에"],
]
LINES = [
    "이름: 김철수 | 부서: 개발 | 비고: 줄이 나뉜 비고",
    "이름: 이영희 | 부서: 영업 | 비고: 쉼표, 세미; 안에",
]


@pytest.mark.parametrize("mark", [",", ";", "\t", "|"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "cp949", "utf-16"])
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_any_separator_and_encoding(mark: str, encoding: str, newline: str, tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    text = newline.join(
        mark.join(f'"{cell}"' if "\n" in cell or "," in cell else cell for cell in row) for row in RECORDS
    )
    path.write_bytes((text + newline).encode(encoding))
    (section,) = load(path).sections
    assert section.text.splitlines() == LINES


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ('a;b\n1;"x, y, z"\n2;"p, q, r"\n', ["a: 1 | b: x, y, z", "a: 2 | b: p, q, r"]),
        ("a,b\n1;5,2;5\n3;5,4;5\n", ["a: 1;5 | b: 2;5", "a: 3;5 | b: 4;5"]),
        ("only one column\nand another line\n", ["only one column", "and another line"]),
        (
            "name,comment\nx,a\ny,b,c,d\n",
            ["name: x | comment: a", "name: y | comment: b | column 3: c | column 4: d"],
        ),
    ],
)
def test_the_separator_that_the_rows_agree_on(text: str, lines: list[str], tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(text)
    (section,) = load(tmp_path / "a.csv").sections
    assert section.text.splitlines() == lines


def test_a_million_columns_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(",".join("x" * 1_000_000))
    with pytest.raises(UnreadableDocument, match="a row has 1,000,000 columns, 16,384 are the most"):
        load(tmp_path / "a.csv")


SPANS = st.integers(min_value=1, max_value=10**18)
CELLS = st.builds(
    Cell, text=st.sampled_from(["", "a", "b"]), columns=SPANS, rows=SPANS, is_header=st.booleans()
)


@given(table=st.lists(st.lists(CELLS, max_size=5), max_size=6))
def test_a_grid_is_bounded_whatever_its_cells_claim(table: list[list[Cell]]) -> None:
    rows = lay_out(table)
    assert len(rows) <= len(table)
    assert len({len(row) for row in rows}) <= 1
    assert all(len(row) <= MAX_COLUMNS for row in rows)
    said = {cell.text for cells in table for cell in cells if cell.text}
    assert said == {part for row in rows for cell in row for part in cell.split()}


def test_a_cell_of_several_rows_stands_in_each() -> None:
    table = [
        [Cell("지점"), Cell("매출", columns=2)],
        [Cell("서울", rows=2), Cell("1"), Cell("2")],
        [Cell("3"), Cell("4")],
    ]
    assert lay_out(table) == [["지점", "매출", "매출"], ["서울", "1", "2"], ["서울", "3", "4"]]


def test_several_heading_rows_are_one() -> None:
    table = [
        [Cell("지점", rows=2, is_header=True), Cell("2025", columns=2, is_header=True)],
        [Cell("매출", is_header=True), Cell("직원", is_header=True)],
        [Cell("서울"), Cell("1200"), Cell("35")],
    ]
    assert lay_out(table) == [["지점", "2025 매출", "2025 직원"], ["서울", "1200", "35"]]


def test_a_long_tables_rows_carry_their_columns_names() -> None:
    rows = [["이름", "나이"], *([f"사람 {number}", str(number)] for number in range(100))]
    lines = table_text(rows).splitlines()
    assert (len(lines), lines[41]) == (100, "| 이름: 사람 41 | 나이: 41 |")
