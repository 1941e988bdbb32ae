"""Profiles as `serving plan --json` tells them."""

from __future__ import annotations

from quantserve.benchmarks.tune.space import ProfileSettings
from quantserve.serving.profiles import Profile


def settings(profile: Profile) -> ProfileSettings:
    """What a profile says itself, and with its defaults."""
    return ProfileSettings(
        profile.model_dump(exclude_unset=True, mode="json"), profile.model_dump(mode="json")
    )
