"""What only a GPU can show: make test-gpu, or .venvs/rag/bin/python -m pytest -m gpu tests/gpu."""
