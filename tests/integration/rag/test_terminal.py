"""What stands in names and texts of documents is shown on a terminal: not obeyed, and no markup."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.fakes.openai_server import FakeServer
from tests.integration.rag.conftest import Rag

HOSTILE = "see [/path/to] and [bold red]this[/bold] \x1b[2J\x1b]0;title\x07 \u202egnp.exe\u202c \x9b31m"
COMMANDS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


@pytest.fixture
def hostile(tmp_path: Path, rag: Rag) -> Path:
    folder = tmp_path / "[odd] [b]"
    folder.mkdir()
    (folder / "a [bold]\n\x1b[31mb.txt").write_text(f"Spare bulbs are kept in the cellar, {HOSTILE}.\n")
    (folder / "other.txt").write_text("The fog horn sounds twice a minute.\n")
    ran = rag("index", folder, "--backend", "onnx")
    assert ran.code == 0, ran.err
    assert not COMMANDS.search(ran.err + ran.out)
    return folder


def test_every_command_that_shows_documents_shows_them_harmlessly(
    rag: Rag, hostile: Path, server: FakeServer
) -> None:
    server.change(answer=f"They are kept in the cellar, {HOSTILE} [/unopened].")
    url = ("--base-url", server.base_url)
    for arguments in (
        ("list", "--json"),
        ("search", "spare bulbs [/x] \x1b[1m", "--json"),
        ("ask", "Where are the spare bulbs kept? [/x]", "--json", *url),
        ("ask", "Where are the spare bulbs kept?", "--mode", "extract", *url),
        ("status", *url),
        ("remove", str(next(hostile.glob("a *"))), "--json"),
    ):
        ran = rag(*arguments)
        assert ran.code == 0, (arguments, ran.err)
        assert not COMMANDS.search(ran.err + ran.out), arguments
        assert "Traceback" not in ran.err
        assert "MarkupError" not in ran.err
        if "--json" in arguments:
            assert ran.json is not None


def test_a_chat_does_too(rag: Rag, hostile: Path, server: FakeServer) -> None:
    ran = rag(
        "chat",
        "--mode",
        "extract",
        "--base-url",
        server.base_url,
        stdin="Where are the spare bulbs kept?\n/sources\n/save /proc/[/x]/y\n종료\n",
    )
    assert ran.code == 0, ran.err
    assert "[/path/to]" in ran.out
    assert not COMMANDS.search(ran.err + ran.out)


def test_a_message_about_an_odd_path_is_one_line(rag: Rag) -> None:
    ran = rag("index", "/nonexistent/[/x]\n\x1b[2Jb", "--backend", "onnx")
    assert ran.code != 0
    assert ran.err.splitlines()[-1].startswith("rag: /nonexistent/[/x]\\n\\x1b[2Jb does not exist")
