"""The directory of one run, and where it was made (nothing private: no paths, no host name).

    runs/TIME-NAME/
      config.json         what was asked for, the command, the seed
      environment.json    hardware, versions
      cells.json          what was measured when
      records.jsonl       raw records        samples.jsonl   raw samples and event loop delays
      extra.json          what only this scenario knows (quality figures, load times)
      metrics.json        computed from the files above, written last: without it a run is unfinished
      report.html summary.md plots/*.png

Raw files are appended cell by cell, so that a run that is killed keeps what it has measured:
`benchmarks report RUN` computes the rest.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import platform
import subprocess
from datetime import datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import orjson
import psutil

from quantserve.benchmarks import records
from quantserve.benchmarks.errors import BadRun
from quantserve.benchmarks.measure.sampling import Sample
from quantserve.benchmarks.records import LoadCell
from quantserve.core.files import write_json
from quantserve.core.machine import this_machine

_OLD_NAMES = {"program": "scenario", "trouble": "faults"}
"""Keys as runs of before 30 November 2026 have them."""
RECORDS, SAMPLES, CELLS, METRICS = "records.jsonl", "samples.jsonl", "cells.json", "metrics.json"


@dataclasses.dataclass(frozen=True)
class MeasuredCell:
    """Everything raw of one cell."""

    cell: LoadCell
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

    def add(self, measured: MeasuredCell) -> None:
        """Append one cell's raw data."""
        records.append(self.path / RECORDS, measured.records)
        with (self.path / SAMPLES).open("ab") as stream:
            row = {"cell": measured.cell.id, "samples": measured.samples, "lags": measured.lags}
            stream.write(orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE))
        write_json(self.path / CELLS, [*self._json(CELLS), dataclasses.asdict(measured.cell)])

    def put_extra(self, value: dict[str, Any]) -> None:
        """Merge into what only this scenario knows."""
        write_json(self.path / "extra.json", {**self.extra(), **value})

    def extra(self) -> dict[str, Any]:
        """What only this scenario knows."""
        return self._fields("extra.json") if (self.path / "extra.json").is_file() else {}

    def config(self) -> dict[str, Any]:
        """What was asked for."""
        return self._fields("config.json")

    def environment(self) -> dict[str, Any]:
        """Where it ran."""
        return self._fields("environment.json")

    def measured(self) -> list[MeasuredCell]:
        """All raw data, cell by cell, in the order they were measured.

        Raises:
            BadRun: a raw file is missing or malformed.
        """
        try:
            cells = [LoadCell(**value) for value in self._json(CELLS)]
        except TypeError as error:
            raise BadRun(f"{self.path / CELLS} lists no cells ({error})") from error
        by_cell: dict[str, list[records.Record]] = {cell.id: [] for cell in cells}
        for record in records.read(self.path / RECORDS):
            if record.cell in by_cell:
                by_cell[record.cell].append(record)
        sampled = self._sampled()
        return [MeasuredCell(cell, by_cell[cell.id], *sampled.get(cell.id, ([], []))) for cell in cells]

    def _sampled(self) -> dict[str, tuple[list[Sample], list[tuple[float, float]]]]:
        """Samples and event loop delays of each cell; a torn last line (a killed run) is skipped."""
        path = self.path / SAMPLES
        found: dict[str, tuple[list[Sample], list[tuple[float, float]]]] = {}
        for line in path.read_bytes().splitlines(keepends=True) if path.is_file() else ():
            if not line.endswith(b"\n"):
                continue
            try:
                row = orjson.loads(line)
                lags = [(when, lag) for when, lag in row.get("lags", [])]
                found[row["cell"]] = row.get("samples", []), lags
            except (ValueError, TypeError, KeyError, AttributeError) as error:
                raise BadRun(f"{path} holds a line that is no sample ({error!r})") from error
        return found

    def _fields(self, name: str) -> dict[str, Any]:
        value = self._json(name)
        if not isinstance(value, dict):
            raise BadRun(f"{self.path / name} is no object")
        fields: dict[str, Any] = value
        return {_OLD_NAMES.get(key, key): content for key, content in fields.items()}

    def _json(self, name: str) -> Any:
        try:
            return json.loads((self.path / name).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise BadRun(f"{self.path / name} cannot be read ({error})") from error


_PACKAGES = ("httptools", "uvloop", "numpy", "openai", "llama-index-core", "faiss-cpu")
_FLAGS = ("avx2", "avx512f", "avx512_bf16", "avx512_fp16", "amx_bf16", "amx_int8", "avx512_vnni")


def collect_environment() -> dict[str, Any]:
    """Everything a reader needs to place the figures."""
    machine = this_machine()
    versions = {}
    for name in _PACKAGES:
        with contextlib.suppress(metadata.PackageNotFoundError):
            versions[name] = metadata.version(name)
    head = _output("git", "rev-parse", "--short=12", "HEAD")
    changed = _output("git", "status", "--porcelain", "--untracked-files=no")
    gpus = _output("nvidia-smi", "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader")
    return {
        "cpu": {
            "model": machine.processor,
            "cores": os.cpu_count(),
            "usable_cores": machine.cores,
            "advertises": machine.advertised(_FLAGS),
        },
        "memory_bytes": psutil.virtual_memory().total,
        "gpus": (gpus or "").splitlines(),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "packages": versions,
        "commit": None if head is None or changed is None else head + ("+" if changed else ""),
        "load_average_before": os.getloadavg()[0],
    }


def _output(*argv: str) -> str | None:
    """What a program prints; None where it is not there or fails."""
    try:
        done = subprocess.run(argv, capture_output=True, text=True, check=True, timeout=20)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
