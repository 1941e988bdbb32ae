"""What `make up` can be told: each setting is a make variable with one default, written here only."""

from __future__ import annotations

import os
import shlex
from dataclasses import dataclass, fields
from pathlib import Path, PurePath

from quantserve.core.errors import UsageError
from quantserve.deploy.local.environments import ROOT, accelerator

METHODS = ("gptq", "awq", "rtn", "int8", "fp8", "bitsandbytes")
METHOD_FOR = {"cpu": "int8", "cuda": "gptq"}
"""By accelerator: a processor computes faster in 8 bits, a GPU reads less memory with 4."""
ENVS = ("local",)
WORDS = ("QUANTIZE", "GATE", "SERVE", "DOCS")
"""Settings that hold several words."""
DEFAULT_NAME = "SmolLM2-135M-Instruct"


@dataclass(frozen=True)
class Settings:
    """The make variables; the field METHOD is the make variable METHOD and so on.

    Attributes:
        MODEL: a hub id or a checkpoint directory; empty means the bundled SmolLM2-135M-Instruct.
        METHOD: the quantization method; empty means the accelerator's in METHOD_FOR.
        QUANTIZE: further options of `quantserve quantize run`.
        GATE: further options of `quantserve quantize gate`.
        BIND, PORT: the address and port where the OpenAI API is served.
        SERVE: further options of `quantserve serving up`.
        DOCS: files and folders to index, separated by spaces.
        EMBED_MODEL: a hub id or directory of an embedding model; empty means the bundled E5-small.
        ENV: where to deploy; `local` is this machine.
        Q: the question `make ask` and the last stage of `make up` ask.
    """

    MODEL: str = ""
    METHOD: str = ""
    QUANTIZE: str = ""
    GATE: str = ""
    BIND: str = "127.0.0.1"
    PORT: str = "8000"
    SERVE: str = ""
    DOCS: str = "samples/documents"
    EMBED_MODEL: str = ""
    ENV: str = "local"
    Q: str = "Why does the CPU profile run in eager mode?"

    @property
    def name(self) -> str:
        """The artifact's name: the model's last path component."""
        return PurePath(self.MODEL).name if self.MODEL else DEFAULT_NAME

    @property
    def documents(self) -> list[Path]:
        """What is indexed; names are relative to the repository."""
        return [Path(ROOT, name) for name in shlex.split(self.DOCS)]

    @property
    def base_url(self) -> str:
        """The OpenAI API's base URL."""
        host = f"[{self.BIND}]" if ":" in self.BIND else self.BIND
        return f"http://{host}:{self.PORT}/v1"


def read() -> Settings:
    """Return the settings from the environment; an empty variable means the default.

    Raises:
        UsageError: METHOD, ENV, PORT, ACCEL or the quotation marks of another cannot be right.
    """
    given = {field.name: os.environ[field.name] for field in fields(Settings) if os.environ.get(field.name)}
    settings = Settings(**{"METHOD": METHOD_FOR[accelerator()], **given})
    if settings.METHOD not in METHODS:
        raise UsageError(f"METHOD={settings.METHOD} is unknown", mend=f"Use one of: {', '.join(METHODS)}")
    if settings.ENV not in ENVS:
        raise UsageError(f"ENV={settings.ENV} is unknown", mend=f"Use one of: {', '.join(ENVS)}")
    if not (settings.PORT.isdigit() and 1 <= int(settings.PORT) <= 65535):
        raise UsageError(f"PORT={settings.PORT} is no port", mend="Use a number from 1 to 65535")
    _check_words(settings)
    return settings


def require_documents(settings: Settings) -> None:
    """Refuse documents that are not there, before the minutes of work that come before the index.

    Raises:
        UsageError: a name in DOCS is neither a file nor a folder.
    """
    for path in settings.documents:
        if not path.exists():
            raise UsageError(f"DOCS: {path} does not exist", mend="Name files and folders, parted by blanks")


def _check_words(settings: Settings) -> None:
    """Refuse what a shell could not part into words.

    Raises:
        UsageError: a quotation mark is not closed.
    """
    for name in WORDS:
        try:
            shlex.split(getattr(settings, name))
        except ValueError as error:
            mend = "Close the quotation mark, or write a backslash before it"
            raise UsageError(
                f"{name}={getattr(settings, name)} cannot be read: {error}", mend=mend
            ) from error
