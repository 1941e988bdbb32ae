from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from quantserve.core.errors import UsageError
from quantserve.serving.chat import Conversation, Message
from quantserve.serving.commands.chat import talk
from quantserve.serving.commands.logs import logs
from quantserve.serving.errors import ServingError


def echo(messages: list[Message]) -> Iterator[str]:
    yield from (str(len(messages)), ":", messages[-1]["content"])


def test_answer_is_shown_piece_by_piece_and_remembered() -> None:
    shown: list[str] = []
    talk = Conversation()
    talk.ask("hi", echo, shown.append)
    talk.ask("again", echo, shown.append)
    assert shown == ["1", ":", "hi", "3", ":", "again"]
    assert [turn["role"] for turn in talk.turns] == ["user", "assistant", "user", "assistant"]


def test_failed_answer_leaves_the_history_alone() -> None:
    def fail(_messages: list[Message]) -> Iterator[str]:
        yield "half"
        raise ConnectionError

    talk = Conversation()
    with pytest.raises(ConnectionError):
        talk.ask("hi", fail, lambda _piece: None)
    assert talk.turns == []


def test_system_goes_first_and_can_be_taken_back() -> None:
    talk = Conversation()
    talk.command("/system be brief")
    assert talk.messages() == [{"role": "system", "content": "be brief"}]
    talk.command("/system")
    assert talk.messages() == []


def test_reset_forgets_the_turns() -> None:
    talk = Conversation()
    talk.ask("hi", echo, lambda _piece: None)
    talk.command("/reset")
    assert talk.messages() == []


def test_save_writes_json_lines_in_utf8(tmp_path: Path) -> None:
    talk = Conversation("존댓말")
    talk.ask("안녕", echo, lambda _piece: None)
    path = tmp_path / "talk.jsonl"
    talk.command(f"/save {path}")
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    assert [line["content"] for line in lines] == ["존댓말", "안녕", "2:안녕"]


@pytest.mark.parametrize("line", ["/save", "/save /proc/no/such/file", "/sav x", "/"])
def test_wrong_command_is_said(line: str) -> None:
    with pytest.raises(UsageError):
        Conversation().command(line)


@pytest.mark.parametrize("word", ["종료", "\u110c\u1169\u11bc\u1105\u116d", "/quit", " 종료 "])
def test_talk_ends_on_its_word_however_it_is_typed(word: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(f"hi\n{word}\nnever\n"))
    conversation = Conversation()
    talk(conversation, echo)
    assert [turn["content"] for turn in conversation.turns] == ["hi", "1:hi"]


def test_talk_goes_on_after_a_wrong_command_and_a_failed_answer(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(messages: list[Message]) -> Iterator[str]:
        if messages[-1]["content"] == "break":
            raise ServingError("the server is gone", mend="Start it")
        yield from echo(messages)

    monkeypatch.setattr("sys.stdin", io.StringIO("/nonsense\nbreak\nhi\n"))
    conversation = Conversation()
    talk(conversation, fail)
    assert [turn["content"] for turn in conversation.turns] == ["hi", "1:hi"]
    assert "1:hi" in capsys.readouterr().out


def test_what_others_wrote_commands_no_terminal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("\x1b[2Jhi\n"))
    talk(Conversation(), echo)
    (tmp_path / "serving.log").write_text("a client called \x1b]0;mine\x07\n", encoding="utf-8")
    logs(run_dir=tmp_path)
    shown = capsys.readouterr().out
    assert "1:\\x1b[2Jhi" in shown
    assert "a client called \\x1b]0;mine\\x07" in shown
    assert "\x1b" not in shown
