"""The same from Python as from the command line: quantize and promote; `gate` is the package of that name.

    outcome = quantize("models/SmolLM2-135M-Instruct", method="gptq", group_size=32)
    if gate(outcome.directory).verdict == "ACCEPT":
        promote(outcome.directory)

Options have the names and defaults of the command line's, with underscores. Failures are
`core.errors.QuantserveError`s. Progress is shown on standard error.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from quantserve.quantize.run import MadeArtifact


def quantize(model: Path | str | None = None, *, method: str | None = None, **options: Any) -> MadeArtifact:
    """Make a quantized artifact of a base checkpoint's directory, or find it made.

    method: gptq, awq, rtn, int8, fp8 or bitsandbytes; by default the one for where it will serve.
    options: those of `quantserve quantize run`: the method's own (`group_size`, `bits`, …), the
    calibration's (`calibration`, one source or several; `languages`, `sequences`, …) and where to work
    (`artifacts_dir`, `name`, `force`, …).

    Raises:
        UsageError: an option the method does not have, or a value the engine would not load.
        InputError, ResourceError: the model, the text or the machine do not allow it.
    """
    from quantserve.quantize.config import CalibrationOptions, QuantizeOptions, as_paths, take_options
    from quantserve.quantize.methods.registry import make_options, method_named, settled_target
    from quantserve.quantize.run import run

    target = settled_target(options.pop("target", None))
    chosen = method_named(method, target)
    if (sources := options.pop("calibration", None)) is not None:
        options["sources"] = (str(sources),) if isinstance(sources, str | Path) else tuple(map(str, sources))
    calibration = CalibrationOptions(**take_options(options, CalibrationOptions))
    paths = {"target": target, **as_paths(take_options(options, QuantizeOptions))}
    if model is not None:
        paths["model"] = Path(model)
    if "precision_override" in options:
        options["precision_override"] = tuple(options["precision_override"])
    return run(chosen, make_options(chosen, options, target), calibration, QuantizeOptions(**paths))


def promote(
    artifact: Path | str, *, force: bool = False, artifacts_dir: Path | str | None = None
) -> Path | None:
    """Make an accepted artifact (directory, NAME/VERSION) the current one; return the one it replaces.

    Raises:
        NotAccepted: the gate has not said ACCEPT, and `force` is off.
        ArtifactError: there is no such artifact.
    """
    from quantserve.quantize.config import ARTIFACTS_DIR
    from quantserve.quantize.lifecycle import places

    directory = places.resolve(str(artifact), Path(artifacts_dir or ARTIFACTS_DIR))
    return places.promote(directory, force=force)
