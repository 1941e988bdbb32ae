"""The directory of one run.

    runs/TIME-NAME/
      config.json         what was asked for, the command, the seed
      environment.json    hardware, versions
      cells.json          what was measured when
      records.jsonl       raw records        samples.jsonl   raw samples and event loop delays
      extra.json          what only this program knows (quality figures, load times)
      metrics.json        computed from the files above, written last: without it a run is unfinished
      report.html summary.md plots/*.png

Raw files are appended cell by cell, so that a run that is killed keeps what it has measured:
`benchmarks report RUN` computes the rest.
"""

from __future__ import annotations

import dataclasses
import json
from datetime import datetime
from pathlib import Path
from typing import Any

import orjson

from quantserve.benchmarks import records
from quantserve.benchmarks.cells import Cell
from quantserve.benchmarks.errors import BadRun
from quantserve.benchmarks.observe.sampler import Sample
from quantserve.core.files import write_json

RECORDS, SAMPLES, CELLS, METRICS = "records.jsonl", "samples.jsonl", "cells.json", "metrics.json"


@dataclasses.dataclass(frozen=True)
class Measured:
    """Everything raw of one cell."""

    cell: Cell
    records: list[records.Record]
    samples: list[Sample]
    lags: list[tuple[float, float]]


class Run:
    """A run directory, being written or read."""

    def __init__(self, path: Path) -> None:
        """`path` exists."""
        self.path = path

    @classmethod
    def create(cls, root: Path, name: str, config: dict[str, Any], environment: dict[str, Any]) -> Run:
        """Make `root/TIME-NAME/` with its configuration."""
        stamp = datetime.now().astimezone().strftime("%Y%m%d-%H%M%S")
        path = root / f"{stamp}-{name}"
        number = 1
        while path.exists():
            number += 1
            path = root / f"{stamp}-{number}-{name}"
        path.mkdir(parents=True)
        write_json(path / "config.json", config)
        write_json(path / "environment.json", environment)
        write_json(path / CELLS, [])
        (path / RECORDS).touch()
        return cls(path)

    @classmethod
    def open(cls, path: Path) -> Run:
        """Open a run to read it.

        Raises:
            BadRun: it is none.
        """
        if not (path / CELLS).is_file():
            raise BadRun(f"{path} is no benchmark run", mend="Name a directory in runs/")
        return cls(path)

    def add(self, measured: Measured) -> None:
        """Append one cell's raw data."""
        records.append(self.path / RECORDS, measured.records)
        with (self.path / SAMPLES).open("ab") as stream:
            row = {"cell": measured.cell.id, "samples": measured.samples, "lags": measured.lags}
            stream.write(orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE))
        write_json(self.path / CELLS, [*self._json(CELLS), dataclasses.asdict(measured.cell)])

    def put_extra(self, value: dict[str, Any]) -> None:
        """Merge into what only this program knows."""
        write_json(self.path / "extra.json", {**self.extra(), **value})

    def extra(self) -> dict[str, Any]:
        """What only this program knows."""
        value: dict[str, Any] = self._json("extra.json") if (self.path / "extra.json").is_file() else {}
        return value

    def config(self) -> dict[str, Any]:
        """What was asked for."""
        value: dict[str, Any] = self._json("config.json")
        return value

    def environment(self) -> dict[str, Any]:
        """Where it ran."""
        value: dict[str, Any] = self._json("environment.json")
        return value

    def measured(self) -> list[Measured]:
        """All raw data, cell by cell, in the order they were measured."""
        cells = [Cell(**value) for value in self._json(CELLS)]
        by_cell: dict[str, list[records.Record]] = {cell.id: [] for cell in cells}
        for record in records.read(self.path / RECORDS):
            if record.cell in by_cell:
                by_cell[record.cell].append(record)
        sampled: dict[str, Any] = {}
        if (self.path / SAMPLES).is_file():
            for line in (self.path / SAMPLES).read_bytes().splitlines(keepends=True):
                if line.endswith(b"\n"):
                    row = orjson.loads(line)
                    sampled[row["cell"]] = row
        return [
            Measured(
                cell,
                by_cell[cell.id],
                sampled.get(cell.id, {}).get("samples", []),
                [(when, lag) for when, lag in sampled.get(cell.id, {}).get("lags", [])],
            )
            for cell in cells
        ]

    def _json(self, name: str) -> Any:
        try:
            return json.loads((self.path / name).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise BadRun(f"{self.path / name} cannot be read ({error})") from error
