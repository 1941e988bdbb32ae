"""What the model is for, and whether the profile is for it. Pure."""

from __future__ import annotations

from quantserve.serving.errors import ProfileError
from quantserve.serving.model import ModelFacts, Task
from quantserve.serving.planning.items import Item, PlanInputs

PROFILE_OF: dict[Task, str] = {
    "embed": "embedding",
    "score": "rerank",
    "classify": "classification",
    "transcribe": "transcription",
}
# Other models that serve a task: a chat model's last hidden state embeds, two embeddings score.
_ALSO: dict[Task, frozenset[Task]] = {
    "embed": frozenset({"generate"}),
    "score": frozenset({"embed"}),
    "classify": frozenset({"score"}),
}
_ENDPOINTS: dict[Task, str] = {
    "embed": "/v1/embeddings and /score",
    "score": "/rerank and /score",
    "classify": "/classify",
}
# With these the user says himself what vLLM shall make of the model.
_OWN_WORDS = ("--runner", "--convert", "--hf-overrides")


def require_fit(inputs: PlanInputs) -> None:
    """Refuse a model the profile is not for.

    Raises:
        ProfileError: with the right profile.
    """
    facts, wanted = inputs.target.facts, inputs.profile.task
    if facts.task == wanted or facts.task in _ALSO.get(wanted, ()):
        return
    if any(inputs.given(name) is not None for name in _OWN_WORDS):
        return
    right = PROFILE_OF.get(facts.task)
    mend = f"Use --profile {right}" if right else "Use a profile for chat, or leave --profile out"
    raise ProfileError(
        f"profile {inputs.profile_name!r} is for models that {wanted}, {inputs.target.name} "
        f"({facts.architecture}) can {facts.task}",
        mend=f"{mend}. What it cannot know it can be told: -- --hf-overrides JSON",
    )


def flags(inputs: PlanInputs) -> list[Item]:
    """Return the flags that make vLLM a server of the task."""
    task, facts = inputs.profile.task, inputs.target.facts
    if task in ("generate", "transcribe"):
        return []
    items = [Item("--runner", "pooling", "profile", f"answers {_ENDPOINTS[task]}")]
    if task == "embed" and facts.task == "generate":
        items.append(Item("--convert", "embed", "profile", "a chat model's last hidden state"))
    return items


def guess_profile(facts: ModelFacts | None) -> str | None:
    """Return the profile for a model that does not chat; None for one that does."""
    return PROFILE_OF.get(facts.task) if facts is not None else None
