"""docs/quantize.md says what the program does."""

from __future__ import annotations

import dataclasses
import re

import pytest
import typer

from quantserve.core import home
from quantserve.quantize import config
from quantserve.quantize.__main__ import app
from quantserve.quantize.calibration import packing
from quantserve.quantize.calibration.spec import BUILT_IN, KNOWN
from quantserve.quantize.cli.options import PAGE, descriptions, table, with_tables


@pytest.fixture(scope="module")
def page() -> str:
    return PAGE.read_text(encoding="utf-8")


def test_the_options_tables_are_those_of_the_dataclasses(page: str) -> None:
    assert with_tables(page) == page, "run: python -m quantserve.quantize.cli.options"


OPTIONS = [cls for cls in vars(config).values() if dataclasses.is_dataclass(cls) and isinstance(cls, type)]


@pytest.mark.parametrize("cls", OPTIONS, ids=lambda cls: cls.__name__)
def test_every_options_class_has_its_table_and_says_what_each_option_means(page: str, cls: type) -> None:
    assert f"<!-- options: {cls.__name__} -->" in page
    assert set(descriptions(cls)) == {field.name for field in dataclasses.fields(cls)}


@pytest.mark.parametrize("cls", OPTIONS, ids=lambda cls: cls.__name__)
def test_every_row_of_a_table_has_three_cells(cls: type) -> None:
    assert {line.count("|") for line in table(cls).splitlines()} == {4}


def test_a_table_shows_flag_default_and_meaning() -> None:
    row = "| `--seed` | `0` | draws the documents of a longer text, and the sequences |"
    assert row in table(config.CalibrationOptions)


def test_every_command_is_on_the_page(page: str) -> None:
    command = typer.main.get_command(app)
    names = set(getattr(command, "commands", {}))
    assert names >= {"run", "gate", "diff", "gc", "pull", "push", "export"}
    assert [name for name in sorted(names) if f"quantize {name}" not in page] == []


def test_every_source_and_warning_is_on_the_page(page: str) -> None:
    warnings = [packing.SHORT, packing.ONE_LANGUAGE, packing.LANGUAGE_SHARE]
    warnings += [packing.SOURCE_SHARE, packing.NO_TEMPLATE]
    assert [name for name in (*BUILT_IN, *KNOWN, *warnings) if f"`{name}`" not in page] == []


def test_every_environment_variable_is_in_the_page_s_table(page: str) -> None:
    rows = page.partition("## Environment variables")[2].partition("\n## ")[0]
    listed = set(re.findall(r"QUANTSERVE_\w+", rows))
    sources = (PAGE.parents[1] / "quantize").rglob("*.py")
    read = {
        name for path in sources for name in re.findall(r"QUANTSERVE_\w+", path.read_text(encoding="utf-8"))
    }
    assert read | {home.VARIABLE, home.ENVIRONMENTS} == listed
