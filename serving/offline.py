"""Answers to lists, for Python programs: an engine for a block of code, or a server that runs already.

    from quantserve.serving import offline

    with offline.engine("artifacts/NAME/current") as model:
        answers = model.chat(["What is 2 + 2?", "Name a colour."], max_tokens=16)

    vectors = offline.connect("http://127.0.0.1:8000/v1").embed(["one text", "another"])

Everything goes through the OpenAI API, so what is measured here is what is served.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from quantserve.serving.config import RunDirectory
from quantserve.serving.errors import NotRunning, ServingError
from quantserve.serving.temporary import temporary_server

if TYPE_CHECKING:
    import openai

Messages = Sequence[dict[str, Any]]
_CONCURRENCY = 32
_RETRIES = 6
_TIMEOUT_S = 600.0
_EMBED_AT_ONCE = 64
_RUN = RunDirectory()
_Asked = TypeVar("_Asked")
_Answer = TypeVar("_Answer")


class Model:
    """A served model. Lists in, lists of the same length and order out; many are asked at once."""

    def __init__(
        self, base_url: str, model: str, *, api_key: str = "none", concurrency: int = _CONCURRENCY
    ) -> None:
        """Use the model `model` of the server at `base_url` (with /v1)."""
        import openai

        self.base_url = base_url
        self.name = model
        self._concurrency = concurrency
        self._client = openai.OpenAI(
            base_url=base_url, api_key=api_key, max_retries=_RETRIES, timeout=_TIMEOUT_S
        )

    def chat(self, prompts: Sequence[str | Messages], **options: Any) -> list[str]:
        """Answer each message or conversation; `options` are those of a chat request (max_tokens, …).

        Raises:
            ServingError: the server refused or lost one; the message says which.
        """

        def ask(prompt: str | Messages) -> str:
            plain: Any = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else list(prompt)
            answer = self._client.chat.completions.create(model=self.name, messages=plain, **options)
            return answer.choices[0].message.content or ""

        return self._all(prompts, ask)

    def complete(self, prompts: Sequence[str], **options: Any) -> list[str]:
        """Continue each text; `options` are those of a completion request.

        Raises:
            ServingError: the server refused or lost one; the message says which.
        """

        def ask(prompt: str) -> str:
            answer = self._client.completions.create(model=self.name, prompt=prompt, **options)
            return str(answer.choices[0].text)

        return self._all(prompts, ask)

    def embed(self, texts: Sequence[str], **options: Any) -> list[list[float]]:
        """Return a vector for each text.

        Raises:
            ServingError: the server refused or lost some; the message says which.
        """
        parts = [list(texts[i : i + _EMBED_AT_ONCE]) for i in range(0, len(texts), _EMBED_AT_ONCE)]

        def ask(part: list[str]) -> list[list[float]]:
            answer = self._client.embeddings.create(
                model=self.name, input=part, encoding_format="float", **options
            )
            return [entry.embedding for entry in sorted(answer.data, key=lambda entry: entry.index)]

        return [vector for part in self._all(parts, ask) for vector in part]

    def _all(self, items: Sequence[_Asked], ask: Callable[[_Asked], _Answer]) -> list[_Answer]:
        import openai

        def one(numbered: tuple[int, _Asked]) -> _Answer:
            try:
                return ask(numbered[1])
            except openai.OpenAIError as error:
                raise ServingError(f"entry {numbered[0]} was not answered: {error}") from error

        with ThreadPoolExecutor(self._concurrency) as pool:
            return list(pool.map(one, enumerate(items)))


@contextmanager
def engine(
    target: str | Path,
    *,
    profile: str | None = None,
    vllm_args: Sequence[str] = (),
    run_dir: str | Path = _RUN.path,
    concurrency: int = _CONCURRENCY,
) -> Iterator[Model]:
    """Start an engine for an artifact or checkpoint directory; it ends with the block.

    Raises:
        EngineDied, EngineNotReady: it did not come up; the message says why.
    """
    with temporary_server(
        Path(target), profile=profile, vllm_args=tuple(vllm_args), run=Path(run_dir)
    ) as address:
        yield Model(address.base_url, address.model, concurrency=concurrency)


def connect(
    base_url: str, model: str | None = None, *, api_key: str = "none", concurrency: int = _CONCURRENCY
) -> Model:
    """Use a server that runs already; without `model` its first one.

    Raises:
        NotRunning: nothing answers there.
    """
    if model is None:
        import openai

        model = first_model(openai.OpenAI(base_url=base_url, api_key=api_key, max_retries=0))
    return Model(base_url, model, api_key=api_key, concurrency=concurrency)


def first_model(client: openai.OpenAI) -> str:
    """Return the name of the first model a server has.

    Raises:
        NotRunning: nothing answers there.
    """
    import openai

    try:
        return client.models.list().data[0].id
    except openai.OpenAIError as error:
        raise NotRunning(
            f"no server answers at {client.base_url}: {error}", mend="Start one: quantserve serving up TARGET"
        ) from error
