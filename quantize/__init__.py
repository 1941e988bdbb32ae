"""From a checkpoint to a quantized artifact that has proved itself in the engine that will serve it.

In: a Hugging Face checkpoint under models/ and text to calibrate on. Out: artifacts/NAME/VERSION/, a
checkpoint with report.json and, written last, manifest.json. Imports core only; speaks to the engine
through `python -m serving` and the OpenAI HTTP API.
"""
