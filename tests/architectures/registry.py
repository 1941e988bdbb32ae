"""Which model types the engine's registry knows of those that transformers has; prints them as JSON.

    .venvs/serving/bin/python tests/architectures/registry.py | python -m json.tool --indent 1 > registry.json

Runs in the serving environment, whose transformers has the same table as the quantize environment's.
The registry is asked as the engine asks it for a checkpoint's `architectures`: a class it does not name may
go by another of its names, such as a text model by that of the model with vision.
"""

from __future__ import annotations

import json
import sys
from importlib.metadata import version

from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES
from vllm import __version__
from vllm.config.model import iter_architecture_defaults, try_match_architecture_defaults
from vllm.model_executor.models import ModelRegistry


def known(architecture: str, supported: set[str]) -> bool:
    """Whether the registry finds a class by this name or by one that its rules make of it."""
    match = try_match_architecture_defaults(architecture)
    names = [architecture]
    if match is not None:
        names += [architecture.replace(match[0], suffix) for suffix, _ in iter_architecture_defaults()]
    return any(name in supported for name in names)


def main() -> None:
    """Print the table."""
    supported = set(ModelRegistry.get_supported_archs())
    types = {}
    for model_type, classes in sorted(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.items()):
        names = [classes] if isinstance(classes, str) else list(classes)
        found = [name for name in names if known(name, supported)]
        if found:
            types[model_type] = found[0]
    versions = {"transformers": version("transformers"), "vllm": __version__}
    sys.stdout.write(json.dumps({**versions, "types": types}) + "\n")


if __name__ == "__main__":
    main()
