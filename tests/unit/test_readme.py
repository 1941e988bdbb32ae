"""The README tells a newcomer what is there, and nothing that is not."""

from __future__ import annotations

import re

from tests.programs import ROOT


def documented_targets() -> dict[str, str]:
    text = (ROOT / "Makefile").read_text(encoding="utf-8")
    found = re.findall(r"^([a-z-]+):.*?## (.*)$", text, flags=re.MULTILINE)
    return {name: said for name, said in found if name != "help"}


def test_the_table_of_commands_is_the_makefiles() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `make ([a-z-]+)` \| (.*) \|$", readme, flags=re.MULTILINE)
    assert {name: said.replace("\\|", "|") for name, said in rows} == documented_targets()


def test_every_file_the_documentation_links_to_exists() -> None:
    for page in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]:
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"
