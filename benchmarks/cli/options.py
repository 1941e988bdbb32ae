"""The options several commands share, and how they change a scenario's defaults."""

from __future__ import annotations

import importlib
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Annotated, Any

import typer

from quantserve.benchmarks.errors import BadOption
from quantserve.core.home import generated

if TYPE_CHECKING:
    from quantserve.benchmarks.measure.bench import ScenarioOptions
    from quantserve.benchmarks.servers import Server

Target = Annotated[str, typer.Argument(help="a checkpoint or artifact directory")]
Checkpoint = Annotated[str, typer.Argument(help="a checkpoint directory")]
ApiKey = Annotated[
    str | None, typer.Option(envvar="OPENAI_API_KEY", help="bearer key, if the server wants one")
]
WorkloadText = Annotated[
    str, typer.Option("--workload", help="synthetic:prompt=128,output=64 | sharegpt:FILE | bilingual …")
]
Seed = Annotated[int | None, typer.Option(help="repeat the same prompts; drawn anew by default")]
SloText = Annotated[str, typer.Option("--slo", help="limits for goodput: ttft=1s,tpot=100ms,e2e=20s")]
Root = Annotated[Path, typer.Option("--out", help="where run directories go")]
Name = Annotated[str | None, typer.Option(help="name of the run directory")]
Processes = Annotated[int | None, typer.Option(help="load processes; as many as needed by default")]
Profile = Annotated[str | None, typer.Option(help="ours is started with it; by default the machine's")]
DEFAULT_URL = "http://127.0.0.1:8000/v1"
DEFAULT_WORKLOAD = "synthetic:prompt=128,output=64"
RUNS = generated("runs")
RUN_DIR = generated("run")
INDEX = generated("run/index")
EMBEDDING_MODEL = generated("models/multilingual-e5-small")
BASE = str(generated("models/SmolLM2-135M-Instruct"))


@dataclass(frozen=True)
class RunningServer:
    """A server that runs already."""

    base_url: Annotated[
        str, typer.Option("--base-url", envvar="OPENAI_BASE_URL", help="the server's /v1 address")
    ] = DEFAULT_URL
    model: Annotated[str | None, typer.Option(help="model name; by default the first the server names")] = (
        None
    )
    api_key: ApiKey = None
    pid: Annotated[
        int | None, typer.Option(help="root of the server's process tree; by default found behind its port")
    ] = None

    def attached(self) -> Server:
        """The server, which answers."""
        from quantserve.benchmarks.servers import attach

        return attach(self.base_url, self.model, self.api_key, self.pid)


@dataclass(frozen=True)
class StartedLoad:
    """What a server that is started here is asked, and how it is started."""

    workload: Annotated[str | None, typer.Option(help="what is asked")] = None
    users: Annotated[str | None, typer.Option(help="concurrencies, as 1,8,32")] = None
    profile: Profile = None

    def given(self) -> dict[str, Any]:
        """The fields by the names of the scenarios' options."""
        return {"workload": self.workload, "users": numbers(self.users), "profile": self.profile}


@dataclass(frozen=True)
class Recorded:
    """How often something is measured, with which prompts, and where it is written."""

    seed: Seed = None
    repeats: Annotated[int | None, typer.Option(help="times to measure everything, in turn")] = None
    out: Root = RUNS
    name: Name = None

    def options(self, repeats: int) -> ScenarioOptions:
        """What the scenarios take; `repeats` where the user names none."""
        from quantserve.benchmarks.measure.bench import ScenarioOptions

        return ScenarioOptions(self.out, self.name, self.seed, self.repeats or repeats)


@dataclass(frozen=True)
class RecordedQuick(Recorded):
    """The same for a scenario that has a small version."""

    quick: Annotated[
        bool,
        typer.Option("--quick", envvar="QUICK", help="a small version, under three minutes on two cores"),
    ] = False

    def options(self, repeats: int, when_quick: int = 1) -> ScenarioOptions:
        """What the scenarios take; `repeats`, or `when_quick`, where the user names none."""
        return replace(super().options(when_quick if self.quick else repeats), quick=self.quick)

    def choose(self, scenario: ModuleType, **given: Any) -> Any:
        """The scenario's options, FULL or QUICK, with those that the user gave: neither None nor empty."""
        wanted = {name: value for name, value in given.items() if value is not None and value != ()}
        return replace(scenario.QUICK if self.quick else scenario.FULL, **wanted)

    def measure(
        self, name: str, target: str | list[str], repeats: int, when_quick: int = 1, **given: Any
    ) -> None:
        """Measure a target by the scenario of that name, which starts it, and judge the figures."""
        from quantserve.benchmarks.report.outcome import judged

        scenario = importlib.import_module(f"quantserve.benchmarks.scenarios.{name}")
        how = self.choose(scenario, **given)
        judged(scenario.measure(target, self.options(repeats, when_quick), how))


def numbers(text: str | None) -> tuple[int, ...]:
    """Read `1,8,32`; nothing given is no numbers.

    Raises:
        BadOption: it is no list of whole numbers from 1.
    """
    try:
        found = tuple(int(part) for part in (text or "").split(",") if part)
    except ValueError as error:
        raise BadOption(f"{text!r} is no list of numbers", mend="Write 1,8,32") from error
    if any(number < 1 for number in found):
        raise BadOption(f"{text!r}: numbers start at 1", mend="Write 1,8,32")
    return found
