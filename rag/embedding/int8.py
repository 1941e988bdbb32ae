"""The int8 graph of an encoder: weights by channel, activations by tensor as they come (dynamic).

ONNX Runtime's own quantizer, which optimum calls too (optimum-onnx 0.1 wants transformers 4, the engine's
release is 5). Only what is quantized is written: the rest, above all the word embeddings, stays in the
fp32 graph's file of weights, which both share.
"""

from __future__ import annotations

import logging
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from tenacity import retry, retry_if_exception_type, stop_after_delay, wait_fixed

from quantserve.core.files import Locked, exclusive_lock, write_bytes
from quantserve.rag.embedding.backend import INT8_FILE
from quantserve.rag.embedding.onnx_graph import MODEL_FILE

if TYPE_CHECKING:
    from onnx import ModelProto

_OPERATORS = ("MatMul",)
_WAIT_S = 300


@retry(
    retry=retry_if_exception_type(Locked), stop=stop_after_delay(_WAIT_S), wait=wait_fixed(0.2), reraise=True
)
def int8_graph(directory: Path) -> Path:
    """Return the int8 graph of the model in `directory`, made from its fp32 graph when it is not there.

    Raises:
        OSError: the directory cannot be written.
        Locked: another process has been making it for minutes.
    """
    path, source = directory / INT8_FILE, directory / MODEL_FILE
    if _is_newer(path, source):
        return path
    with exclusive_lock(directory / f".{INT8_FILE}.lock", "quantizing the embedding model"):
        if not _is_newer(path, source):
            write_bytes(path, _quantized(source).SerializeToString())
    return path


def _is_newer(path: Path, source: Path) -> bool:
    return path.is_file() and path.stat().st_mtime_ns >= source.stat().st_mtime_ns


def _quantized(source: Path) -> ModelProto:
    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic

    with tempfile.TemporaryDirectory(prefix="rag-int8-", dir=source.parent) as folder:
        target = Path(folder) / source.name
        advice = logging.getLogger()
        level = advice.level
        advice.setLevel(logging.ERROR)  # the quantizer's advice to preprocess: the graph is fused already
        try:
            quantize_dynamic(
                source,
                target,
                op_types_to_quantize=list(_OPERATORS),
                per_channel=True,
                weight_type=QuantType.QInt8,
                extra_options={"DefaultTensorType": onnx.TensorProto.FLOAT},
                use_external_data_format=True,
            )
        finally:
            advice.setLevel(level)
        model = onnx.load(target)
    shared = {
        tensor.name: tensor
        for tensor in onnx.load(source, load_external_data=False).graph.initializer
        if tensor.data_location == onnx.TensorProto.EXTERNAL
    }
    for tensor in model.graph.initializer:
        if tensor.name in shared:
            tensor.CopyFrom(shared[tensor.name])
    return model
