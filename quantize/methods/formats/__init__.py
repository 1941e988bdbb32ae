"""How a result is stored: the recipe that its options mean, the layout, and the tensors and files of it.

In: options, quantized weights. Out: a checkpoint's files, tensor by tensor. `recipe.py` and `layouts.py`
are pure.
"""
