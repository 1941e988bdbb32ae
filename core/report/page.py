"""A report on one HTML page that needs nothing beside itself."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template
from markupsafe import Markup

from quantserve.core.report.table import Section


@dataclass(frozen=True)
class Judgement:
    """What the page says first: one word, what it means, the reasons, and which colour suits it."""

    word: str
    meaning: str
    reasons: Sequence[str] = ()
    colour: Literal["good", "bad", "unknown"] = "unknown"


def template(file: Path) -> Template:
    """Return a page's template: what is put in is escaped, and a name that is missing is an error."""
    environment = Environment(
        loader=FileSystemLoader(file.parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(file.name)


def render(
    title: str,
    subtitle: str,
    sections: Sequence[Section],
    *,
    judgement: Judgement | None = None,
    glossary: Sequence[tuple[str, str]] = (),
    plots: Path | None = None,
) -> str:
    """Return the page. `plots` is the folder of the sections' PNG files, which are put into the page."""
    shown = [
        {
            "title": section.title,
            "text": section.text,
            "tables": section.tables,
            "pictures": [(_embedded(picture, plots), caption) for picture, caption in section.pictures],
        }
        for section in sections
    ]
    return template(Path(__file__).with_name("page.html")).render(
        title=title, subtitle=subtitle, judgement=judgement, sections=shown, glossary=glossary
    )


def _embedded(picture: str, plots: Path | None) -> Markup:
    """Return an SVG element as it is (it is our own), a file of `plots` as an image."""
    if plots is None:
        return Markup(picture)
    data = base64.b64encode((plots / picture).read_bytes()).decode()
    return Markup('<img alt="" src="data:image/png;base64,{}">').format(data)
