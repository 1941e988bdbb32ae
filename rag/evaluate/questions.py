"""The question file: one JSON object a line, with the exact piece of text that answers."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from quantserve.core.errors import InputError


class Place(BaseModel):
    """Where an answer stands: a file's name, a page where the file has pages, and its exact text."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    file: str
    page: int | None = None
    evidence: str = Field(min_length=1)


class Question(BaseModel):
    """One question; `evidence` and `file` are null where no document holds the answer."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: str
    question: str = Field(min_length=1)
    language: Literal["ko", "en"]
    kind: str
    file: str | None = None
    page: int | None = None
    heading: str | None = None
    answer: str | None = None
    evidence: str | None = None
    also: tuple[Place, ...] = ()

    @model_validator(mode="after")
    def _whole(self) -> Question:
        if (self.file is None) != (self.evidence is None):
            raise ValueError("file and evidence belong together")
        return self

    @property
    def answerable(self) -> bool:
        """Whether a document holds the answer."""
        return self.evidence is not None

    @property
    def places(self) -> tuple[Place, ...]:
        """Every place that answers; empty for an unanswerable question."""
        if self.file is None or self.evidence is None:
            return ()
        return (Place(file=self.file, page=self.page, evidence=self.evidence), *self.also)


def load_questions(path: Path) -> list[Question]:
    """Read a question file; blank lines are skipped.

    Raises:
        InputError: it cannot be read, a line is wrong, or it holds no question.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"the question file {path} cannot be read", mend="Give a UTF-8 JSONL file"
        ) from error
    questions: list[Question] = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            questions.append(Question.model_validate_json(line))
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"])
            raise InputError(
                f"{path}, line {number}: {f'{where}: ' if where else ''}{first['msg']}",
                mend="samples/README.md describes the form",
            ) from error
    if not questions:
        raise InputError(f"{path} holds no question", mend="Give one JSON object a line")
    return questions
