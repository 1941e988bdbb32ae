"""Build the sample PDFs: `python -m samples.build` (in the rag environment).

In: `samples/sources/NAME.md`, a front line `% running head`, then Markdown: headings, paragraphs, lists,
tables, code. Out: `samples/documents/NAME.pdf`, with a running head and page numbers, and the same bytes on
every rebuild: the date is fixed, the font comes from a pinned package, and only its used glyphs are embedded.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pylopdf_fonts_ko
from fpdf import FPDF
from fpdf.enums import TextMode
from fpdf.fonts import FontFace
from markdown_it import MarkdownIt
from markdown_it.tree import SyntaxTreeNode

from quantserve.core.files import write_bytes

HERE = Path(__file__).parent
SOURCES = HERE / "sources"
DOCUMENTS = HERE / "documents"
MADE_ON = datetime(2026, 1, 1, tzinfo=UTC)
HEADING_MM = {"h1": 7.5, "h2": 5.6, "h3": 4.6}
GREY = (243, 244, 246)
LINE_MM = 7.0
CELL_PAD_MM = 4.5


class Page(FPDF):
    """A4 pages with a running head above and `page / pages` below."""

    def __init__(self, head: str, title: str) -> None:
        """Set the fixed metadata and the one embedded font."""
        super().__init__(format="A4")
        self._head = head
        self.add_font("ko", "", pylopdf_fonts_ko.sans_path())
        self.set_creation_date(MADE_ON)
        self.set_title(title)
        self.set_author("quantserve")
        self.set_margins(24, 26, 24)
        self.set_auto_page_break(True, margin=24)

    def header(self) -> None:
        """Print the running head."""
        self.set_y(13)
        self._small(self._head, align="L")
        self.set_y(26)

    def footer(self) -> None:
        """Print the page number."""
        self.set_y(-16)
        self._small(f"{self.page_no()} / {{nb}}", align="C")

    def _small(self, text: str, align: str) -> None:
        self.set_font("ko", size=8.5)
        self.set_text_color(110)
        self.cell(0, 5, text, align=align)
        self.set_text_color(0)


@dataclass(frozen=True)
class Source:
    """One Markdown source: its running head and its blocks in order."""

    head: str
    blocks: tuple[SyntaxTreeNode, ...]

    @property
    def title(self) -> str:
        """The first heading."""
        return plain(next(block for block in self.blocks if block.type == "heading"))


def parse(text: str) -> Source:
    """Read a source's text."""
    front, _, body = text.partition("\n")
    if not front.startswith("% "):
        raise ValueError("a PDF source begins with the line '% running head'")
    tree = SyntaxTreeNode(MarkdownIt("commonmark").enable("table").parse(body))
    return Source(front[2:].strip(), tuple(tree.children))


def plain(node: SyntaxTreeNode) -> str:
    """A block's text without marks; a soft line break is a space."""
    if node.type in ("text", "code_inline"):
        return node.content
    if node.type in ("softbreak", "hardbreak"):
        return " "
    return "".join(plain(child) for child in node.children)


def render(source: Source) -> bytes:
    """Lay a source out as PDF."""
    pdf = Page(source.head, source.title)
    pdf.add_page()
    for block in source.blocks:
        _block(pdf, block)
    return bytes(pdf.output())


def _block(pdf: Page, block: SyntaxTreeNode) -> None:
    if block.type == "heading":
        _heading(pdf, plain(block), HEADING_MM[block.tag])
    elif block.type == "paragraph":
        _text(pdf, plain(block))
    elif block.type in ("bullet_list", "ordered_list"):
        _list(pdf, block)
    elif block.type == "table":
        _table(pdf, block)
    elif block.type == "fence":
        _code(pdf, block.content.rstrip("\n"))
    elif block.type == "hr":  # a rule in the source is a page break
        pdf.add_page()
    else:
        raise ValueError(f"a PDF source may not hold a {block.type}")


def _heading(pdf: Page, text: str, size_mm: float) -> None:
    if pdf.will_page_break(size_mm * 2 + 3 * LINE_MM):  # never alone at the foot of a page
        pdf.add_page()
    pdf.ln(size_mm * 0.5)
    pdf.set_font("ko", size=size_mm * 2.6)
    with pdf.local_context(text_mode=TextMode.FILL_STROKE, line_width=0.15):
        pdf.multi_cell(0, size_mm * 1.5, text, align="L", new_x="LMARGIN", new_y="NEXT")
    pdf.ln(1.5)


def _text(pdf: Page, text: str, left: float = 0) -> None:
    pdf.set_font("ko", size=11.5)
    pdf.set_x(pdf.l_margin + left)
    pdf.multi_cell(0, LINE_MM, text, align="L", new_x="LMARGIN", new_y="NEXT")
    pdf.ln(2)


def _list(pdf: Page, block: SyntaxTreeNode) -> None:
    for number, item in enumerate(block.children, start=1):
        mark = f"{number}." if block.type == "ordered_list" else "•"
        _text(pdf, f"{mark} {plain(item)}", left=5)


def _table(pdf: Page, block: SyntaxTreeNode) -> None:
    rows = [[plain(cell) for cell in row.children] for part in block.children for row in part.children]
    pdf.set_font("ko", size=9.5)
    widths = column_widths(
        [[pdf.get_string_width(c) for c in row] for row in rows],
        [[max(map(pdf.get_string_width, c.split() or [""])) for c in row] for row in rows],
        pdf.epw,
    )
    pdf.ln(1)
    head = FontFace(emphasis="", fill_color=GREY)
    with pdf.table(rows, col_widths=widths, headings_style=head, line_height=6, text_align="LEFT", padding=1):
        pass
    pdf.ln(4)


def column_widths(lines: list[list[float]], words: list[list[float]], total: float) -> tuple[float, ...]:
    """Divide `total` mm among columns: its longest word each, the rest by what its longest line lacks.

    `lines` and `words` hold, by row and column, the width of the cell's text and of its longest word.
    """
    least = [max(column) + CELL_PAD_MM for column in zip(*words, strict=True)]
    wish = [max(column) + CELL_PAD_MM for column in zip(*lines, strict=True)]
    lack = [w - m for w, m in zip(wish, least, strict=True)]
    share = (total - sum(least)) / (sum(lack) or 1)
    return tuple(m + share * d for m, d in zip(least, lack, strict=True))


def _code(pdf: Page, text: str) -> None:
    pdf.set_fill_color(*GREY)
    pdf.ln(1)
    pdf.set_font("Courier", size=9)
    pdf.multi_cell(0, 5, text, align="L", fill=True, padding=2, new_x="LMARGIN", new_y="NEXT")
    pdf.ln(4)


def main() -> None:
    """Rebuild every PDF that changed and say so."""
    for path in sorted(SOURCES.glob("*.md")):
        target = DOCUMENTS / f"{path.stem}.pdf"
        made = render(parse(path.read_text(encoding="utf-8")))
        same = target.exists() and target.read_bytes() == made
        if not same:
            write_bytes(target, made)
        print(f"{target.relative_to(HERE.parent)}: {'unchanged' if same else f'{len(made):,} bytes written'}")


if __name__ == "__main__":
    main()
