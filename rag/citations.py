"""Citations: [1], [2] must point to passages that were given."""

from __future__ import annotations

import re
from dataclasses import dataclass

_CITATION = re.compile(r"\s*\[(\d{1,3}(?:\s*[,，]\s*\d{1,3})*)\]")


@dataclass(frozen=True)
class CheckedText:
    """A text whose citations all exist; `invented` is how many were removed."""

    text: str
    cited: tuple[int, ...]
    invented: int


def check_citations(text: str, passages: int) -> CheckedText:
    """Remove citations of passages that do not exist; `passages` were given, numbered from 1.

    [1, 2] is read as [1][2].
    """
    cited: dict[int, None] = {}
    invented = 0

    def mend(match: re.Match[str]) -> str:
        nonlocal invented
        numbers = [int(part) for part in re.split(r"\s*[,，]\s*", match[1])]
        real = [number for number in numbers if 1 <= number <= passages]
        invented += len(numbers) - len(real)
        cited.update(dict.fromkeys(real))
        blank = " " if match[0][:1].isspace() else ""
        return blank + "".join(f"[{number}]" for number in real) if real else ""

    checked = _CITATION.sub(mend, text)
    return CheckedText(checked.strip(), tuple(cited), invented)
