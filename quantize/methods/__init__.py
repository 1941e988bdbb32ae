"""Methods: from a checkpoint's weights to quantized ones in a layout that the engine loads.

In: a method's options (`registry.py`), a checked checkpoint, calibration tokens. Out: a checkpoint, proved
beside its base (`proof/`). `layers/` quantizes layer by layer, `formats/` stores, `work.py` puts the steps
in order. What needs torch runs in a process of its own, `python -m quantserve.quantize.methods`.
"""
