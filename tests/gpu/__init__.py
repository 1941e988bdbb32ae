"""What only a GPU can show: pytest -m gpu tests/gpu, or make test-gpu. About a quarter of an hour on one H100."""
