"""A conversation with the model: history, its commands, and where it is saved. No terminal here."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from quantserve.core.errors import UsageError
from quantserve.core.files import write_text

END_WORDS = frozenset({"종료", "/quit", "/exit"})
HELP = """\
/system TEXT   tell the model how to behave (without TEXT: forget it)
/reset         forget the conversation
/save FILE     write the conversation as JSON lines
/help          this
종료, Ctrl-D    end"""

Message = dict[str, str]
Complete = Callable[[list[Message]], Iterable[str]]
"""Takes the messages and yields the answer's pieces as they come."""


@dataclass
class Conversation:
    """What was said so far."""

    system: str = ""
    turns: list[Message] = field(default_factory=list)

    def messages(self) -> list[Message]:
        """Return everything the model is to see."""
        head = [{"role": "system", "content": self.system}] if self.system else []
        return [*head, *self.turns]

    def ask(self, text: str, complete: Complete, show: Callable[[str], None]) -> None:
        """Send a message and show the answer piece by piece; a failed turn leaves the history as it was."""
        asked = {"role": "user", "content": text}
        answer = ""
        for piece in complete([*self.messages(), asked]):
            answer += piece
            show(piece)
        self.turns += [asked, {"role": "assistant", "content": answer}]

    def command(self, line: str) -> str:
        """Carry out a line that begins with a slash and return what to tell the user.

        Raises:
            UsageError: there is no such command, or its file cannot be written.
        """
        name, _, rest = line.partition(" ")
        rest = rest.strip()
        if name == "/help":
            return HELP
        if name == "/reset":
            self.turns.clear()
            return "forgotten"
        if name == "/system":
            self.system = rest
            return "the model will be told so" if rest else "no instruction any more"
        if name == "/save":
            return self._save(rest)
        raise UsageError(f"there is no command {name}", mend="/help lists them")

    def _save(self, name: str) -> str:
        if not name:
            raise UsageError("/save needs a file name", mend="For example /save talk.jsonl")
        lines = [json.dumps(message, ensure_ascii=False) for message in self.messages()]
        try:
            write_text(Path(name), "".join(f"{line}\n" for line in lines), private=True)
        except OSError as error:
            raise UsageError(f"{name} cannot be written: {error.strerror}") from error
        return f"{len(lines)} messages are in {name}"
