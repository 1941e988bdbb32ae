"""What a page does not show: it is not what the page says, and a place to hide orders to a model in.

By attributes, by inline styles, and by the rules of the page's own style sheets that hold on every screen.
The cascade is followed as far as order goes: a later rule that shows what an earlier one hid wins.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bs4 import BeautifulSoup, Tag

_ZERO = re.compile(r"[+-]?[0.]+(?:[a-z]+|%)?")
_FAR = re.compile(r"-\d{3,}(?:\.\d+)?(?:px|pt|em|rem|ex|ch|vw|vh|%)")
_EMPTY_CLIPS = frozenset({("0", "0", "0", "0"), ("0px", "0px", "0px", "0px")})
_EVERY_SCREEN = frozenset({"all", "screen", "only screen", "screen, print", "all, print"})
_MOST_NESTED = 3
_SIMPLE = re.compile(r"[.#][\w-]+")
_MOST_SEARCHES = 100
"""Selectors that are more than a name, and so are matched against every element."""
_MOST_RULES = 20_000


def remove_hidden(soup: BeautifulSoup) -> None:
    """Take out of a page what is not shown."""
    hidden: dict[int, Tag] = {}
    named = _by_name(soup) if soup.find("style") is not None else {}
    left = _MOST_SEARCHES
    for selector, hides in _rules(soup):
        if _SIMPLE.fullmatch(selector):
            tags = named.get(selector, [])
        elif left:
            tags, left = _selected(soup, selector), left - 1
        else:
            continue
        for tag in tags:
            if hides:
                hidden[id(tag)] = tag
            else:
                hidden.pop(id(tag), None)
    for tag in soup.find_all(style=True):
        found = hides_or_shows(str(tag["style"]))
        if found:
            hidden[id(tag)] = tag
        elif found is False:
            hidden.pop(id(tag), None)
    for tag in [*hidden.values(), *soup.select("[hidden], [aria-hidden=true], dialog:not([open])")]:
        if not tag.decomposed and tag.name not in ("html", "body"):
            tag.decompose()


def _by_name(soup: BeautifulSoup) -> dict[str, list[Tag]]:
    """Return the elements of each `.class` and `#id`."""
    found: dict[str, list[Tag]] = {}
    for tag in soup.find_all(True):
        for name in tag.get_attribute_list("class"):
            found.setdefault(f".{name}", []).append(tag)
        found.setdefault(f"#{tag.get('id')}", []).append(tag)
    return found


def _selected(soup: BeautifulSoup, selector: str) -> list[Tag]:
    from soupsieve import SelectorSyntaxError

    try:
        return list(soup.select(selector))
    except (SelectorSyntaxError, NotImplementedError, ValueError):
        return []  # a selector of a newer CSS, or none at all: browsers pass over it, too


def hides_or_shows(declarations: str) -> bool | None:
    """Return whether declarations hide an element (True) or show it (False); None where they do neither."""
    values: dict[str, str] = {}
    for declaration in without_comments(declarations.lower()).split(";"):
        name, _, value = declaration.partition(":")
        values[name.strip()] = value.replace("!important", "").strip()
    shown = values.get("display"), values.get("visibility")
    if shown[0] == "none" or shown[1] in ("hidden", "collapse"):
        return True
    if any(_is_zero(values.get(name, "")) for name in ("opacity", "font-size")):
        return True
    if any(_FAR.fullmatch(values.get(name, "")) for name in ("left", "right", "top", "text-indent")):
        return True
    if tuple(values.get("clip", "")[len("rect(") : -1].replace(",", " ").split()) in _EMPTY_CLIPS:
        return True
    colour = values.get("color")
    if colour and colour in (values.get("background-color"), values.get("background")):
        return True
    return False if any(shown) else None


def without_comments(sheet: str) -> str:
    """Take CSS's comments out."""
    parts: list[str] = []
    at = 0
    while (opening := sheet.find("/*", at)) >= 0:
        parts.append(sheet[at:opening])
        closing = sheet.find("*/", opening + 2)
        at = closing + 2 if closing >= 0 else len(sheet)
    return "".join([*parts, sheet[at:]])


def _is_zero(value: str) -> bool:
    return bool(value) and any(digit.isdigit() for digit in value) and bool(_ZERO.fullmatch(value))


def _rules(soup: BeautifulSoup) -> Iterator[tuple[str, bool]]:
    """Yield (selector, whether it hides) of the rules that say something of it, in their order."""
    count = 0
    for sheet in soup.find_all("style"):
        media = str(sheet.get("media", "all")).strip().lower()
        if media not in _EVERY_SCREEN:
            continue
        for selectors, declarations in blocks_of(without_comments(sheet.get_text())):
            hides = hides_or_shows(declarations)
            if hides is None:
                continue
            for selector in selectors.split(","):
                # What holds only while something happens (:hover), or is made by the style (::before), says
                # nothing of the page's text.
                if selector.strip() and ":" not in selector:
                    count += 1
                    if count > _MOST_RULES:
                        return
                    yield selector.strip(), hides


def blocks_of(sheet: str, depth: int = 0) -> Iterator[tuple[str, str]]:
    """Yield (selectors, declarations) of a style sheet; of @media, only those for every screen."""
    if depth > _MOST_NESTED:
        return
    at = 0
    while (opening := sheet.find("{", at)) >= 0:
        prelude = sheet[at:opening].rpartition(";")[2].strip()
        if not prelude.startswith("@"):
            closing = sheet.find("}", opening)
            closing = len(sheet) if closing < 0 else closing
            yield prelude, sheet[opening + 1 : closing]
        else:
            closing = _matching(sheet, opening)
            if prelude.startswith("@media") and prelude[6:].strip().lower() in _EVERY_SCREEN:
                yield from blocks_of(sheet[opening + 1 : closing], depth + 1)
        at = closing + 1


def _matching(sheet: str, opening: int) -> int:
    """Return the place of the brace that closes another; the end where there is none."""
    depth = 0
    for brace in re.finditer(r"[{}]", sheet[opening:]):
        depth += 1 if brace[0] == "{" else -1
        if not depth:
            return opening + brace.start()
    return len(sheet)
