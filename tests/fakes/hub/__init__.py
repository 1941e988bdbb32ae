"""A model hub over real HTTP: the part of Hugging Face's protocol that reading, streaming and upload use.

    with FakeHub() as hub:
        hub.put("models", "owner/name", {"config.json": b"{}"})
        subprocess.run(..., env={**os.environ, **hub.environment})

Repositories live in memory. Every commit gets the next 40-digit id; branches and tags are not modelled
beyond `main` and the commits themselves. Large files go up by the LFS protocol, as to a hub without Xet.
"""

from tests.fakes.hub.server import FakeHub

__all__ = ["FakeHub"]
