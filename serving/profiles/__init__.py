"""What we prefer for a kind of machine and a task, as YAML files checked on reading.

A profile states wishes (batch size, share of memory, queue length); `serving.command` weighs them
against the hardware and the model. Anything vLLM takes can be passed through under `vllm:`.
"""

from quantserve.serving.profiles.read import load_profile, nearest, profile_names
from quantserve.serving.profiles.schema import KvWishes, LoraWishes, Profile, Speculation

__all__ = ["KvWishes", "LoraWishes", "Profile", "Speculation", "load_profile", "nearest", "profile_names"]
