"""Exchange artifacts with a hub that speaks Hugging Face's protocol (HF_ENDPOINT, HF_TOKEN)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from quantserve.core.errors import InputError
from quantserve.core.files import (
    exclusive_lock,
    fsync_directory,
    remove_tree,
    require_disk_space,
    write_bytes,
)
from quantserve.quantize.artifact import (
    MANIFEST,
    REPORT,
    ArtifactError,
    Manifest,
    check_files,
    is_artifact,
    read_manifest,
)
from quantserve.quantize.lifecycle.places import CODE_SUFFIXES, require_accepted
from quantserve.quantize.models.checks import check_checkpoint
from quantserve.quantize.models.download import hub_errors

_SAFE_NAME = re.compile(r"\w[\w.-]*", re.ASCII)
_RESERVED = {"current", "previous"}
# Written by the gate after the manifest, so the manifest does not list them.
_COMPANIONS = (REPORT, "report.html", "README.md")


@dataclass(frozen=True)
class Pulled:
    """An artifact that was fetched, or found to be here already; `commit` is the hub's."""

    directory: Path
    manifest: Manifest
    commit: str
    made: bool


def split_reference(reference: str) -> tuple[str, str | None]:
    """Split OWNER/NAME@REVISION."""
    name, _, revision = reference.partition("@")
    return name, revision or None


def pull(reference: str, artifacts_dir: Path) -> Pulled:
    """Fetch an artifact from the hub into artifacts/NAME/VERSION, as its manifest names it.

    The manifest is read first, and only what it lists is fetched: code beside it never reaches the disk.
    Every file is compared with its hash before the artifact exists. A broken download resumes.

    Raises:
        InputError: the hub cannot be reached, refuses, or has no artifact there.
        ArtifactError: the artifact could run code, escapes its folder, or arrived damaged.
    """
    from huggingface_hub import HfApi, hf_hub_download, snapshot_download

    name, revision = split_reference(reference)
    where = f"artifact {name}"
    with hub_errors(where, otherwise="copy the artifact's folder here"):
        info = HfApi().model_info(name, revision=revision)
    commit = str(info.sha)
    names = {sibling.rfilename for sibling in info.siblings or []}
    if MANIFEST not in names:
        raise InputError(
            f"{reference} is no artifact of this program: it holds no {MANIFEST}",
            mend=f"Fetch it as a base model: quantserve quantize model {name}",
        )
    incoming = artifacts_dir / ".incoming" / f"{name.replace('/', '--')}-{commit[:12]}"
    with exclusive_lock(incoming.with_suffix(".lock"), f"pulling {name}"):
        with hub_errors(where, otherwise="copy the artifact's folder here"):
            hf_hub_download(name, MANIFEST, revision=commit, local_dir=incoming)
        manifest = read_manifest(incoming)
        refuse_unsafe(manifest)
        directory = artifacts_dir / manifest.name / manifest.version
        if is_artifact(directory):
            remove_tree(incoming)
            return _already_here(directory, manifest, commit)
        require_disk_space(directory, manifest.size_bytes, f"The artifact {manifest.version}")
        wanted = [*manifest.files, *(companion for companion in _COMPANIONS if companion in names)]
        with hub_errors(where, otherwise="copy the artifact's folder here"):
            snapshot_download(name, revision=commit, local_dir=incoming, allow_patterns=wanted)
        _settle(incoming, directory, manifest)
    return Pulled(directory, manifest, commit, made=True)


def _settle(incoming: Path, directory: Path, manifest: Manifest) -> None:
    """Check what arrived and move it to its place, the manifest last."""
    remove_tree(incoming / ".cache")
    try:
        check_files(incoming, manifest, full=True)
        check_checkpoint(incoming)
    except InputError:
        remove_tree(incoming)
        raise
    data = (incoming / MANIFEST).read_bytes()
    (incoming / MANIFEST).unlink()
    directory.parent.mkdir(parents=True, exist_ok=True)
    # Without a manifest it is what a crash left; it does not exist for anyone.
    remove_tree(directory)
    incoming.rename(directory)
    fsync_directory(directory.parent)
    write_bytes(directory / MANIFEST, data)


def _already_here(directory: Path, manifest: Manifest, commit: str) -> Pulled:
    here = read_manifest(directory)
    if here.files != manifest.files:
        raise ArtifactError(
            f"{directory} exists already with other files than the hub's",
            mend="Move it away, or check it: quantserve quantize verify",
        )
    return Pulled(directory, here, commit, made=False)


def refuse_unsafe(manifest: Manifest) -> None:
    """Refuse a manifest from elsewhere that would write outside its folder or bring code.

    Raises:
        ArtifactError: naming what is unsafe.
    """
    for what in (manifest.name, manifest.version):
        if not _SAFE_NAME.fullmatch(what) or what in _RESERVED:
            raise ArtifactError(f"The artifact's name {what!r} is not a plain folder name")
    for name in manifest.files:
        path = PurePosixPath(name)
        if path.is_absolute() or ".." in path.parts or "\\" in name or path.parts[:1] == (".cache",):
            raise ArtifactError(f"The artifact lists {name!r}, which lies outside its folder")
        if path.suffix in CODE_SUFFIXES:
            raise ArtifactError(
                f"The artifact holds {name}, which could run code when loaded",
                mend="Use one whose weights are safetensors",
            )


def push(directory: Path, repository: str, *, private: bool, force: bool, message: str | None) -> str:
    """Upload an artifact to a hub repository, which is made if needed; return the commit's URL.

    Weights and JSON files of an earlier artifact in the repository are removed in the same commit.

    Raises:
        NotAccepted: the gate has not accepted it, and `force` is off.
        ArtifactError: a file is missing, truncated or changed.
        InputError: the hub cannot be reached, or refuses.
    """
    from huggingface_hub import HfApi

    manifest = read_manifest(directory)
    check_files(directory, manifest, full=True)
    if not force:
        require_accepted(directory, "may not be published")
    with hub_errors(f"repository {repository}", otherwise="export the artifact to a file"):
        api = HfApi()
        api.create_repo(repository, private=private, exist_ok=True)
        uploaded = api.upload_folder(
            repo_id=repository,
            folder_path=directory,
            ignore_patterns=[".*", "**/.*"],
            delete_patterns=["*.safetensors", "*.json", "*.jinja"],
            commit_message=message or f"{manifest.name} {manifest.version}",
        )
    return str(uploaded.commit_url)
