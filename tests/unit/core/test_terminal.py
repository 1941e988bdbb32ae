"""Outside text on a terminal and in JSON lines: shown as it is written, never obeyed."""

from __future__ import annotations

import io
import json
import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.progress import ProgressColumn, TaskID
from rich.table import Table

from quantserve.core import console as ours
from quantserve.core.console import PlainConsole, emit_json, styled
from quantserve.core.terminal import one_line, printable

HOSTILE = "[/path/to] [bold]x[/] :smile: \x1b[2J\x1b]0;title\x07 \x9b31m \u202eabc\u202c \r over \udce9"
SHOWN = "[/path/to] [bold]x[/] :smile: \\x1b[2J\\x1b]0;title\\x07 \\x9b31m \\u202eabc\\u202c \\r over \\udce9"


def printed(*what: object) -> str:
    """Return what a terminal without colours gets."""
    stream = io.StringIO()
    console = PlainConsole(file=stream, width=200, markup=False, emoji=False, highlight=False)
    for one in what:
        console.print(one)
    return stream.getvalue()


def test_a_string_is_printed_as_it_is_written() -> None:
    assert printed(HOSTILE) == f"{SHOWN}\n"


def test_so_is_a_cell_and_a_head_and_a_title_of_a_table() -> None:
    table = Table(HOSTILE, title=HOSTILE)
    table.add_row(HOSTILE)
    assert printed(table).count(SHOWN) == 3


def test_so_is_a_styled_text() -> None:
    assert printed(styled(("made", "green"), f": {HOSTILE}")) == f"made: {SHOWN}\n"


def test_so_is_what_a_bar_is_about() -> None:
    bar = ours.progress()
    task: TaskID = bar.add_task(f"reading a\nb {HOSTILE}", total=1)
    column = bar.columns[1]
    assert isinstance(column, ProgressColumn)
    assert printed(column.render(bar.tasks[task])) == f"reading a\\nb {SHOWN}\n"


def test_the_programs_own_console_knows_no_markup() -> None:
    assert isinstance(ours.console, PlainConsole)
    assert ours.console.render_str("[/x]").plain == "[/x]"


@settings(deadline=None)
@given(st.text())
def test_nothing_that_is_shown_commands_a_terminal(text: str) -> None:
    for shown in (printable(text).replace("\n", "").replace("\t", ""), one_line(text)):
        assert not any(unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp") for character in shown)
        assert not any(
            unicodedata.bidirectional(character) in ("RLO", "LRO", "RLE", "LRE") for character in shown
        )


@pytest.mark.parametrize("text", [HOSTILE, "한글 é 😀", "a\nb\tc"])
def test_json_holds_the_text_itself_on_one_harmless_line(
    text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    emit_json({"text": text})
    line = capsys.readouterr().out
    assert json.loads(line) == {"text": text}
    assert line.count("\n") == 1
    assert one_line(line.rstrip("\n")) == line.rstrip("\n")
