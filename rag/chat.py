"""A conversation in the terminal: streams, keeps history, shows sources on request."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from quantserve.core.console import console, emit_piece
from quantserve.core.files import write_text
from quantserve.core.terminal import one_line
from quantserve.rag.answer import Answer, Answerer, AnswerFailed
from quantserve.rag.llm import Message
from quantserve.rag.show import note_on, passages_table
from quantserve.rag.text import normalise

PROMPT = "질문> "
ENDINGS = frozenset({"종료", "exit", "quit", "/exit", "/quit"})
HELP = "종료 or Ctrl-D ends · /sources · /reset · /system TEXT · /save FILE"


def _typed_lines() -> Iterator[str]:
    """Yield lines until Ctrl-D; Ctrl-C drops the line being typed."""
    with contextlib.suppress(ImportError):
        import readline  # noqa: F401  (line editing and history in input())
    while True:
        try:
            yield input(PROMPT if sys.stdin.isatty() else "")
        except EOFError:
            return
        except KeyboardInterrupt:
            console.print()


class Chat:
    """One conversation's state."""

    def __init__(self, answerer: Answerer, write: Callable[[str], None]) -> None:
        """`write` receives the answer's text as it comes."""
        self._answerer, self._write = answerer, write
        self._history: list[Message] = []
        self._last: Answer | None = None
        self._system = ""

    def handle(self, line: str) -> bool:
        """Do what a line says; return False when the conversation ends."""
        line = normalise(line)
        if line in ENDINGS:
            return False
        if line.startswith("/"):
            self._command(*line[1:].partition(" ")[::2])
        elif line:
            self._ask(line)
        return True

    def _command(self, name: str, argument: str) -> None:
        if name == "sources":
            passages_table(self._last.passages, self._last.cited) if self._last else console.print(
                "No answer yet."
            )
        elif name == "reset":
            self._history.clear()
            self._last = None
            console.print("The history is empty.")
        elif name == "system":
            self._system = argument
            console.print(
                "The system prompt is yours now." if argument else "The system prompt is the default."
            )
        elif name == "save" and argument:
            self._save(Path(argument))
        else:
            console.print(HELP)

    def _save(self, path: Path) -> None:
        try:
            write_text(
                path,
                "\n\n".join(f"## {m['role']}\n\n{m['content']}" for m in self._history) + "\n",
                private=True,
            )
        except OSError as error:
            console.print(f"{path} cannot be written: {error.strerror}", markup=False)
            return
        console.print(f"Saved: {path}", markup=False)

    def _ask(self, question: str) -> None:
        streamed: list[str] = []

        def on_text(piece: str) -> None:
            streamed.append(piece)
            self._write(piece)

        try:
            answer = self._answerer.answer(
                question,
                on_text=on_text,
                history=self._history,
                system=self._system,
            )
        except AnswerFailed as error:
            self._write("\n")
            passages_table(error.passages)
            console.print(str(error), style="red", markup=False)
            return
        if answer.withdrawn or not streamed:
            self._write(("\n" if streamed else "") + answer.text)
        self._write("\n")
        places = [f"[{number}] {one_line(answer.passages[number - 1].place)}" for number in answer.cited]
        console.print("  ".join([*places, note_on(answer)]).strip(), style="dim", markup=False)
        self._last = answer
        self._history += [
            {"role": "user", "content": question},
            {"role": "assistant", "content": answer.text},
        ]


def run_chat(answerer: Answerer) -> None:
    """Read lines from the terminal until 종료 or Ctrl-D."""
    console.print(HELP, style="dim", markup=False)
    chat = Chat(answerer, emit_piece)
    for line in _typed_lines():
        if not chat.handle(line):
            break
