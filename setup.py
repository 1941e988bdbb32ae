"""Which folder is which package: the top-level folders below the one name quantserve; else pyproject.toml."""

import tempfile

from setuptools import find_packages, setup

FOLDERS = ("core", "quantize", "serving", "rag", "benchmarks", "deploy")
# Data that the programs read: pins to make environments from, and the documents that `up` indexes by default.
DATA = ("requirements", "samples")

# A build folder left from an earlier build would put its old files into the wheel.
ASIDE = tempfile.TemporaryDirectory(prefix="quantserve-build-")

inside = [f"{folder}.{name}" for folder in FOLDERS for name in find_packages(folder)]
setup(
    packages=["quantserve", *(f"quantserve.{name}" for name in (*FOLDERS, *inside, *DATA))],
    options={"build": {"build_base": ASIDE.name}},
    package_dir={"quantserve": "quantserve", **{f"quantserve.{name}": name for name in (*FOLDERS, *DATA)}},
)
