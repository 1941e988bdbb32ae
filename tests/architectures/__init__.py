"""Every decoder that transformers and the engine both know, quantized by every method on a tiny checkpoint.

In: `registry.json`, the types that both know, and `outcomes.json`, what each shape and method must give: an
artifact whose logits are right by code of its own, or a clean refusal before the work. Out: the matrix test
in `make test`, engine loads in `make test-architectures`, and the table of docs/quantization-methods.md.
"""
