"""Layer by layer: the calibration text passes through the model, and each layer is quantized as it passes.

In: a loaded model, a recipe, token ids. Out: finished layers on disk, one file each. What a layer's parts
read of each other is found by running it (`dataflow.py`), so no architecture's names are known here.
"""
