"""Tables of a page as text: taken out before the page becomes Markdown, put back after.

A table that only lays a page out (another table or a heading in it, or one column) is no table: its cells
become blocks.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from quantserve.rag.loaders.grid import Cell, lay_out, table_text

if TYPE_CHECKING:
    from bs4 import Tag

_PARTS = ("table", "thead", "tbody", "tfoot", "tr", "td", "th", "caption")
_HEADINGS = ["h1", "h2", "h3", "h4", "h5", "h6"]


@dataclass(frozen=True)
class Lifted:
    """The tables of one page; the nonce keeps the page's own text from looking like a mark."""

    texts: list[str] = field(default_factory=list)
    nonce: str = field(default_factory=lambda: secrets.token_hex(8))

    def mark(self, number: int) -> str:
        """Return what stands in a table's place."""
        return f"\ue000{self.nonce}-{number}\ue000"


def lift_tables(body: Tag) -> Lifted:
    """Replace each table by a mark, and return their texts."""
    lifted = Lifted()
    for table in reversed(body.find_all("table")):  # inner ones first
        if _is_layout(table, lifted.nonce):
            _make_blocks(table)
            continue
        text = table_text(lay_out(_rows(table)))
        caption = table.find("caption")
        said = " ".join(caption.get_text(" ").split()) if caption is not None else ""
        table.name, table.attrs = "p", {}
        table.clear()
        table.string = lifted.mark(len(lifted.texts))
        lifted.texts.append(f"{said}\n\n{text}" if said else text)
    return lifted


def put_back(markdown: str, lifted: Lifted) -> str:
    """Put each table's text where its mark is."""
    first, *parts = markdown.split(f"\ue000{lifted.nonce}-")
    whole = [first.rstrip(" ")]
    for part in parts:
        number, _, rest = part.partition("\ue000")
        whole.append(f"\n\n{lifted.texts[int(number)]}\n\n{rest.strip(' ')}")
    return "".join(whole)


def _is_layout(table: Tag, nonce: str) -> bool:
    if table.get("role") in ("presentation", "none") or table.find(_HEADINGS) is not None:
        return True
    if any(nonce in text for text in table.strings):
        return True
    return all(len(row.find_all(["td", "th"])) < 2 for row in table.find_all("tr"))


def _make_blocks(table: Tag) -> None:
    for part in [table, *table.find_all(_PARTS)]:
        part.name = "div"
        part.attrs = {}


def _rows(table: Tag) -> list[list[Cell]]:
    return [
        [
            Cell(
                " ".join(cell.get_text(" ").split()),
                columns=_span(cell, "colspan"),
                rows=_span(cell, "rowspan"),
                is_header=cell.name == "th",
            )
            for cell in row.find_all(["td", "th"], recursive=False)
        ]
        for row in table.find_all("tr")
    ]


def _span(cell: Tag, name: str) -> int:
    value = str(cell.get(name, ""))
    return max(1, int(value)) if value.isascii() and value.isdigit() and len(value) < 19 else 1
