"""Reading profiles: by name or path, on top of another (`extends`); what is wrong is said with its mend."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from quantserve.serving.config import RunDirectory
from quantserve.serving.errors import ProfileError
from quantserve.serving.profiles.schema import KvWishes, LoraWishes, Profile, Speculation

_FOLDER = Path(__file__).parent
TUNED = RunDirectory().path / "profiles"
"""Where `benchmarks tune` leaves the profiles of this machine."""
_EXTENDS = "extends"
_SECTIONS: dict[str, type[BaseModel]] = {"kv": KvWishes, "lora": LoraWishes, "speculation": Speculation}


def profile_names() -> tuple[str, ...]:
    """Return the names of the profiles that come with the program, and of those tuned on this machine."""
    return tuple(sorted({path.stem for folder in (_FOLDER, TUNED) for path in folder.glob("*.yaml")}))


def nearest(word: str, candidates: tuple[str, ...]) -> str:
    """Return a sentence that names the candidate most like `word`, or all of them."""
    close = difflib.get_close_matches(word, candidates, n=1, cutoff=0.5)
    return f"Did you mean {close[0]!r}?" if close else f"Known: {', '.join(candidates)}"


def load_profile(name: str) -> Profile:
    """Load a profile by its name, or from a path ending in .yaml or .yml.

    `extends: NAME` (or a path) takes everything from another profile that the file does not say itself;
    sections and their entries are taken one by one. Relative paths are relative to the file they stand in.

    Raises:
        ProfileError: there is no such profile, or its content is wrong; names the nearest right word.
    """
    return _load(_path_of(name, Path()), ())


def _path_of(name: str, folder: Path) -> Path:
    if name.endswith((".yaml", ".yml")):
        path = folder / name
        if not path.is_file():
            raise ProfileError(f"there is no profile file {path}")
        return path
    if name not in profile_names():
        raise ProfileError(f"there is no profile {name!r}", mend=nearest(name, profile_names()))
    own = _FOLDER / f"{name}.yaml"
    return own if own.is_file() else TUNED / f"{name}.yaml"


def _load(path: Path, above: tuple[Path, ...]) -> Profile:
    """Read one file and those it extends; `above` are the files that led here."""
    import yaml

    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        first = str(error).splitlines()[0]
        raise ProfileError(f"{path} is not YAML: {first}", mend="Mend the file") from error
    if isinstance(data, dict) and _EXTENDS in data:
        data = dict(data)
        base = data.pop(_EXTENDS)
        if not isinstance(base, str):
            raise ProfileError(
                f"{path}: {_EXTENDS} takes one name or path", mend=nearest("", profile_names())
            )
        base_path = _path_of(base, path.parent)
        led = (*above, path.resolve())
        if base_path.resolve() in led:
            raise ProfileError(f"{path}: {_EXTENDS} leads back to {base_path}", mend="Extend another profile")
        data = _merged(_load(base_path, led).model_dump(exclude_unset=True, mode="json"), data)
    try:
        return _with_paths_from(Profile.model_validate(data), path.parent.absolute())
    except ValidationError as error:
        raise _explained(path, error) from error


def _merged(base: dict[str, Any], own: dict[str, Any]) -> dict[str, Any]:
    """`own` laid over `base`, key by key. Pure."""
    both = {
        key: _merged(base[key], value)
        if isinstance(value, dict) and isinstance(base.get(key), dict)
        else value
        for key, value in own.items()
    }
    return {**base, **both}


def _explained(path: Path, error: ValidationError) -> ProfileError:
    """What is wrong, by its key, and the mend; a misspelt key before the right one that it left out."""
    found = min(error.errors(), key=lambda one: one["type"] != "extra_forbidden")
    # pydantic names the branch of a union, which is no key of the file.
    keys = [str(part) for part in found["loc"] if not str(part).startswith(("constrained", "literal["))]
    where = ".".join(keys) or "the file"
    if found["type"] == "extra_forbidden":
        mend = nearest(str(found["loc"][-1]), _known_keys(found["loc"]))
        return ProfileError(f"{path}: unknown key {where!r}", mend=mend)
    return ProfileError(f"{path}: {where}: {found['msg']}", mend="Mend the value")


def _known_keys(location: tuple[int | str, ...]) -> tuple[str, ...]:
    if len(location) > 1:
        return tuple(_SECTIONS.get(str(location[0]), Profile).model_fields)
    return (*Profile.model_fields, _EXTENDS)


def _with_paths_from(profile: Profile, folder: Path) -> Profile:
    adapters = {name: folder / path for name, path in profile.lora.adapters.items()}
    changes: dict[str, Any] = {}
    if adapters:
        changes["lora"] = profile.lora.model_copy(update={"adapters": adapters})
    if profile.speculation is not None and profile.speculation.draft is not None:
        draft = folder / profile.speculation.draft
        changes["speculation"] = profile.speculation.model_copy(update={"draft": draft})
    return profile.model_copy(update=changes)
