"""What an artifact takes over from its base besides weights and config.json: by structure, not by a list.

Tokenizers, processors, templates and licences come under ever new names, and one that is lost shows late: a
model that cannot see, another prompt, a broken licence. So everything is carried that is small and is neither
weights (in any format), nor code, nor known to be left by a tool. Decided by a file's ending and first bytes.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from quantserve.core.errors import InputError
from quantserve.core.sizes import decimal_size
from quantserve.quantize.models.checks import SIDE_FILES

MOST_BYTES = 128_000_000
"""Of one file; the largest tokenizer of a known model has 35 MB."""
_MOST_FILES = 1000
LFS_PREFIX = b"version https://git-lfs"
_MOST_LEVELS = 4
# Weights, and archives that may hold some. A binary file of another kind is a tokenizer's.
_WEIGHTS = re.compile(
    r"""\. (?: safetensors | bin | pth? | pkl | pickle | ckpt | joblib | np[yz] | msgpack | h5 | hdf5 | keras
    | pb | tflite | onnx | onnx_data | ort | gguf | ggml | mlmodel | engine | plan | nemo | llamafile | mnn
    | task | litertlm | tar | zip | t?gz | bz2 | xz | zst | 7z )""",
    re.VERBOSE,
)
_CODE = re.compile(
    r"""\. (?: py[cdxi]? | ipynb | (?:ba)?sh | bat | cmd | ps1 | m?js | ts | rb | pl | lua | php | jar | class
    | c | cc | cpp | cuh? | h | hpp | rs | go | java | jl | r | wasm | whl | so | dll | dylib | exe )""",
    re.VERBOSE,
)
# Pickles, torch's zip files, GGUF, HDF5, NumPy; executables of Linux, macOS and browsers; scripts.
_MAGIC = (
    *(b"\x80" + bytes([protocol]) for protocol in range(2, 6)),
    b"PK\x03\x04",
    b"GGUF",
    b"\x89HDF\r\n",
    b"\x93NUMPY",
    b"\x7fELF",
    b"\xcf\xfa\xed\xfe",
    b"\xca\xfe\xba\xbe",
    b"\x00asm",
    b"#!",
)
# Pictures, papers and tables belong to the model card, which an artifact has of its own.
_CARD = re.compile(
    r"\.(?:png|jpe?g|gif|webp|svg|mp4|mov|wav|mp3|flac|pdf|csv|parquet|arrow|log|lock)",
)
_CARD_NAMES = frozenset(("readme", "model_card", "modelcard", "changelog", "contributing"))
# Left by training, quantizing, exporting or by this program, at a checkpoint's top level.
_BY_PRODUCTS = frozenset(
    {
        "config.json",
        "source.json",
        "manifest.json",
        "report.json",
        "report.html",
        "bitsandbytes.json",
        "trainer_state.json",
        "training_args.json",
        "all_results.json",
        "train_results.json",
        "eval_results.json",
        "quant_log.csv",
        "adapter_config.json",
        "requirements.txt",
        *SIDE_FILES,
    }
)
_BY_PRODUCT_FOLDERS = frozenset(("runs", "wandb", "mlruns", "logs", "__pycache__"))
# A licence is carried in whatever form it comes.
_LICENCES = ("license", "licence", "notice", "copying", "copyright", "use_policy", "acceptable_use", "terms")


def carried_by_name(name: str) -> bool:
    """Whether a file is carried over as far as its name tells (relative, with forward slashes)."""
    path = PurePosixPath(name)
    if any(part.startswith(".") or part in _BY_PRODUCT_FOLDERS for part in path.parts):
        return False
    lower, suffix = path.name.lower(), _suffix(name)
    if _WEIGHTS.fullmatch(suffix) or _CODE.fullmatch(suffix):
        return False
    if lower.startswith(_LICENCES):
        return True
    return (
        not _CARD.fullmatch(suffix)
        and name not in _BY_PRODUCTS
        and not lower.endswith(".index.json")
        and not lower.startswith(("events.out.", "dockerfile", "makefile"))
        and lower.partition(".")[0] not in _CARD_NAMES
    )


def carried_names(names: Iterable[str]) -> list[str]:
    """Return which of a checkpoint's files (relative, with forward slashes) are carried over by their names.

    A folder inside counts unless it holds weights (`original/`, `onnx/`, `checkpoint-500/`): then all of it
    belongs to something else.
    """
    given = sorted(names)
    foreign = {str(PurePosixPath(name).parent) for name in given if _WEIGHTS.fullmatch(_suffix(name))} - {"."}
    return [
        name
        for name in given
        if carried_by_name(name) and not foreign & {str(parent) for parent in PurePosixPath(name).parents}
    ]


def _suffix(name: str) -> str:
    return PurePosixPath(name).suffix.lower()


def companions(directory: Path) -> list[Path]:
    """Return the files that go with a checkpoint's weights into an artifact, relative to it and in order.

    Raises:
        InputError: a file that belongs to the model cannot be read, is larger than any such file is, or
            there are too many.
    """
    found = [name for name in carried_names(_walk(directory, "", _MOST_LEVELS)) if _carried(directory, name)]
    if len(found) > _MOST_FILES:
        raise InputError(
            f"{directory} holds {len(found):,} files besides its weights",
            mend="Move away what is not the model",
        )
    return [Path(name) for name in found]


def _walk(top: Path, folder: str, levels: int) -> list[str]:
    """Return the files under a folder by relative name, without hidden folders."""
    found: list[str] = []
    for path in sorted((top / folder).iterdir()):
        name = f"{folder}{path.name}"
        if path.is_file():
            found.append(name)
        elif path.is_dir() and levels > 1 and not path.name.startswith(".") and not _leads_back(path, top):
            found += _walk(top, f"{name}/", levels - 1)
    return found


def _leads_back(path: Path, top: Path) -> bool:
    """Whether a linked folder holds the checkpoint itself."""
    return path.is_symlink() and top.resolve().is_relative_to(path.resolve())


def _carried(directory: Path, name: str) -> bool:
    path = directory / name
    try:
        size_bytes = path.stat().st_size
        with path.open("rb") as stream:
            head = stream.read(len(LFS_PREFIX))
    except OSError as error:
        raise InputError(
            f"{path} cannot be read: {error.strerror}", mend="Correct its permissions"
        ) from error
    if head.startswith(_MAGIC):
        return False
    if head == LFS_PREFIX:
        raise InputError(
            f"{path} is a Git LFS pointer, not the file itself", mend=f"Run: git -C {directory} lfs pull"
        )
    if size_bytes > MOST_BYTES:
        raise InputError(
            f"{path} has {decimal_size(size_bytes)}, too much for a file beside the weights "
            f"(at most {decimal_size(MOST_BYTES)})",
            mend="Move it away if the model does not need it",
        )
    return True


def copy_companions(directory: Path, output: Path) -> None:
    """Copy them byte for byte, each to its place below `output`."""
    for name in companions(directory):
        target = output / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(directory / name, target)
