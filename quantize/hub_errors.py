"""What the hub's client raises, in one line that says the mend."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from quantserve.core.errors import InputError


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
        mend = "Set HF_TOKEN to a token that may do this" if status in (401, 403) else "Try again later"
        raise InputError(f"The hub refused {what}: {_first_line(error)}", mend=mend) from error
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
