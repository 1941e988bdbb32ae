"""What we prefer on a kind of machine, as YAML files checked on reading.

A profile states wishes (batch size, share of memory, queue length); `serving.command` weighs them
against the hardware and the model. Anything vLLM takes can be passed through under `vllm:`.
"""

from serving.profiles.schema import KvWishes, Profile, load_profile, profile_names

__all__ = ["KvWishes", "Profile", "load_profile", "profile_names"]
