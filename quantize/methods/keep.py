"""Which modules keep 16 or 8 bits: patterns on their names, checked before the work. Pure."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable
from dataclasses import dataclass

from quantserve.core.errors import UsageError

KEPT_BITS = 16
_WIDTHS = (16, 8)
_ROUTERS = (".mlp.gate", ".router", ".shared_expert_gate", ".block_sparse_moe.gate")
# The engine fuses each row into one matrix, which has one width.
FUSED = (("q_proj", "k_proj", "v_proj"), ("gate_proj", "up_proj"))


@dataclass(frozen=True)
class Keep:
    """One --keep: modules whose name, or the end of it, matches the pattern get this width."""

    pattern: str
    bits: int

    def matches(self, name: str) -> bool:
        """Whether a full module name, such as model.layers.0.mlp.down_proj, is meant.

        A pattern is a shell pattern on whole parts of the name: down_proj, layers.0.mlp.*, layers.2?.
        """
        parts = name.split(".")
        wanted = len(self.pattern.split("."))
        return any(
            fnmatch.fnmatchcase(".".join(parts[start : start + wanted]), self.pattern)
            for start in range(len(parts) - wanted + 1)
        )


def parse_keep(text: str) -> Keep:
    """Read PATTERN or PATTERN=16 or PATTERN=8.

    Raises:
        UsageError: another width, or no pattern.
    """
    pattern, equals, bits = text.rpartition("=")
    if not equals:
        pattern, bits = text, str(KEPT_BITS)
    if not pattern or not bits.isdigit() or int(bits) not in _WIDTHS:
        raise UsageError(f"--keep {text} is not PATTERN, PATTERN=16 or PATTERN=8", mend="Such as down_proj=8")
    return Keep(pattern, int(bits))


def widths_of(names: Iterable[str], keeps: Iterable[str]) -> dict[str, int]:
    """Return the width of each module with one of its own: the last --keep that matches wins.

    A mixture of experts keeps its routers in 16 bits, as the engine expects.

    Raises:
        UsageError: a pattern matches no module, or only some of those the engine fuses into one.
    """
    names, keeps = list(names), list(keeps)
    found = {name: KEPT_BITS for name in names if name.endswith(_ROUTERS)}
    for keep in map(parse_keep, keeps):
        matched = [name for name in names if keep.matches(name)]
        if not matched:
            raise UsageError(
                f"--keep {keep.pattern} matches no module",
                mend="Name a module such as down_proj, layers.0.mlp.* or layers.0 (shell patterns)",
            )
        found.update(dict.fromkeys(matched, keep.bits))
    if names and keeps and all(found.get(name) == KEPT_BITS for name in names):
        raise UsageError("--keep leaves nothing to quantize", mend="Serve the model in 16 bits as it is")
    for name in found:
        for mate in mates(name, names):
            if found.get(mate) != found[name]:
                raise UsageError(
                    f"--keep gives {name} {found[name]} bits but {mate} another width; the engine fuses them",
                    mend=f"Add --keep {mate.rpartition('.')[2]}={found[name]}",
                )
    return found


def fused_names(name: str) -> tuple[str, ...]:
    """Return a module's name with those it is fused with, such as q_proj, k_proj, v_proj, in order."""
    stem, _, last = name.rpartition(".")
    row = next((row for row in FUSED if last in row), (last,))
    return tuple(f"{stem}.{part}" for part in row)


def mates(name: str, names: list[str]) -> list[str]:
    """Return the modules the engine fuses with this one."""
    return [mate for mate in fused_names(name) if mate != name and mate in names]
