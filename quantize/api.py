"""The same from Python as from the command line: quantize, gate, promote.

    outcome = quantize("models/SmolLM2-135M-Instruct", method="gptq", group_size=32)
    if gate(outcome.directory).verdict == "ACCEPT":
        promote(outcome.directory)

Options have the names and defaults of the command line's, with underscores. Failures are
`core.errors.QuantserveError`s. Progress is shown on standard error.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

from quantserve.core.errors import UsageError

if TYPE_CHECKING:
    from quantserve.quantize.gate.run import Outcome as Judged
    from quantserve.quantize.run import Outcome as Made


def quantize(model: Path | str | None = None, *, method: str = "gptq", **options: Any) -> Made:
    """Make a quantized artifact of a base checkpoint's directory, or find it made.

    options: those of `quantserve quantize run`: the method's own (`group_size`, `bits`, …), the
    calibration's (`calibration`, one source or several; `languages`, `sequences`, …) and where to work
    (`artifacts_dir`, `name`, `force`, …).

    Raises:
        UsageError: an option the method does not have, or a value the engine would not load.
        InputError, ResourceError: the model, the text or the machine do not allow it.
    """
    from quantserve.quantize.config import CalibrationOptions, RunOptions
    from quantserve.quantize.methods import find, make_options
    from quantserve.quantize.methods.targets import check_target, default_target
    from quantserve.quantize.run import run

    chosen = find(method)
    target = options.pop("target", None) or default_target()
    check_target(target)
    if (sources := options.pop("calibration", None)) is not None:
        options["sources"] = (str(sources),) if isinstance(sources, str | Path) else tuple(map(str, sources))
    calibration = CalibrationOptions(**_taken(options, CalibrationOptions))
    paths = {"target": target, **_as_paths(_taken(options, RunOptions))}
    if model is not None:
        paths["model"] = Path(model)
    if "keep" in options:
        options["keep"] = tuple(options["keep"])
    return run(chosen, make_options(chosen, options, target), calibration, RunOptions(**paths))


def gate(
    artifact: Path | str, base: Path | str | None = None, *, force: bool = False, **options: Any
) -> Judged:
    """Judge an artifact in the engine against its base; the verdict is in the outcome, not raised.

    options: those of `quantserve quantize gate`: limits (`max_ppl_increase=0.05`, …), benchmark tasks
    (`tasks`, names or one string with commas; `tasks_dir`, `tasks_limit`) and places (`models_dir`,
    `run_dir`, …).

    Raises:
        UsageError: an unknown option.
        GateError: no verdict is possible, for example because the base itself does not run.
    """
    from quantserve.quantize.gate.config import GateConfig
    from quantserve.quantize.gate.run import Limits, gate_artifact

    more: dict[str, Any] = {}
    if (tasks := options.pop("tasks", None)) is not None:
        from quantserve.quantize.gate.tasks import TaskPlan

        names = tuple(tasks.split(",")) if isinstance(tasks, str) else tuple(tasks)
        folder = options.pop("tasks_dir", None)
        more["tasks"] = TaskPlan(names, Path(folder) if folder else None, options.pop("tasks_limit", None))
    limits = Limits(**_taken(options, Limits))
    config = GateConfig(**_as_paths(_taken(options, GateConfig)))
    if options:
        raise UsageError(f"gate has no option {next(iter(options))}", mend="See help(quantize.gate)")
    return gate_artifact(Path(artifact), Path(base) if base else None, config, limits, force=force, **more)


def promote(
    artifact: Path | str, *, force: bool = False, artifacts_dir: Path | str | None = None
) -> Path | None:
    """Make an accepted artifact (directory, NAME/VERSION) the current one; return the one it replaces.

    Raises:
        NotAccepted: the gate has not said ACCEPT, and `force` is off.
        ArtifactError: there is no such artifact.
    """
    from quantserve.quantize import lifecycle
    from quantserve.quantize.config import ARTIFACTS_DIR

    return lifecycle.promote(
        lifecycle.resolve(str(artifact), Path(artifacts_dir or ARTIFACTS_DIR)), force=force
    )


def _taken(options: dict[str, Any], cls: Any) -> dict[str, Any]:
    """Take a dataclass's fields out of options."""
    names = {field.name for field in dataclasses.fields(cls)}
    return {name: options.pop(name) for name in list(options) if name in names}


def _as_paths(values: dict[str, Any]) -> dict[str, Any]:
    """Turn the strings given for folders into paths."""
    folders = ("_dir", "adapter", "serving_python")
    return {
        name: Path(value) if isinstance(value, str) and name.endswith(folders) else value
        for name, value in values.items()
    }
