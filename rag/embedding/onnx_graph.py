"""Write the BERT encoder as an ONNX graph with ONNX Runtime's fused operators.

Built from the weights directly, so that no exporter, no torch and no fusion pass stands between:
EmbedLayerNormalization, then per layer Attention, SkipLayerNormalization, BiasGelu,
SkipLayerNormalization (https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md).

Inputs  input_ids, attention_mask: int32 [batch, tokens]
Output  last_hidden_state: float32 [batch, tokens, hidden]
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from quantserve.rag.embedding.e5_file import E5File, Floats

if TYPE_CHECKING:
    from onnx import NodeProto, TensorProto

MODEL_FILE = "model.onnx"
WEIGHTS_FILE = "model.onnx.data"
_OPSET, _IR_VERSION = 17, 8
_CONTRIB = "com.microsoft"


class _Graph:
    """Collects nodes and initializers."""

    def __init__(self) -> None:
        self.nodes: list[NodeProto] = []
        self.initializers: list[TensorProto] = []

    def weight(self, name: str, values: Floats) -> str:
        from onnx import numpy_helper

        self.initializers.append(numpy_helper.from_array(np.ascontiguousarray(values), name))
        return name

    def node(self, kind: str, inputs: list[str], outputs: list[str], **attributes: Any) -> str:
        from onnx import helper

        domain = "" if kind in {"MatMul", "Cast"} else _CONTRIB
        self.nodes.append(
            helper.make_node(kind, inputs, outputs, name=outputs[0], domain=domain, **attributes)
        )
        return outputs[0]


def _layer(graph: _Graph, file: E5File, index: int, hidden_state: str, lengths: str) -> str:
    """Append one transformer layer; return the name of its output."""
    shape, prefix = file.shape, f"l{index}."

    def matrix(name: str, inputs: int) -> Floats:
        return file.tensors[f"{prefix}{name}.w"].reshape(-1, inputs).T

    def vector(name: str) -> Floats:
        return file.tensors[prefix + name]

    qkv = graph.weight(prefix + "qkv.w", np.hstack([matrix(part, shape.hidden) for part in "qkv"]))
    qkv_bias = graph.weight(prefix + "qkv.b", np.hstack([vector(f"{part}.b") for part in "qkv"]))
    attended = graph.node(
        "Attention",
        [hidden_state, qkv, qkv_bias, lengths],
        [prefix + "attention"],
        num_heads=shape.heads,
    )
    weight = graph.weight(prefix + "ao.w", matrix("ao", shape.hidden))
    projected = graph.node("MatMul", [attended, weight], [prefix + "projected"])
    names = [graph.weight(prefix + name, vector(name)) for name in ("aln.w", "aln.b", "ao.b")]
    normed = graph.node(
        "SkipLayerNormalization",
        [projected, hidden_state, *names],
        [prefix + "normed"],
        epsilon=shape.epsilon,
    )
    weight = graph.weight(prefix + "fi.w", matrix("fi", shape.hidden))
    widened = graph.node("MatMul", [normed, weight], [prefix + "widened"])
    activated = graph.node(
        "BiasGelu", [widened, graph.weight(prefix + "fi.b", vector("fi.b"))], [prefix + "activated"]
    )
    weight = graph.weight(prefix + "fo.w", matrix("fo", shape.feed_forward))
    narrowed = graph.node("MatMul", [activated, weight], [prefix + "narrowed"])
    names = [graph.weight(prefix + name, vector(name)) for name in ("oln.w", "oln.b", "fo.b")]
    output = "last_hidden_state" if index == shape.layers - 1 else prefix + "output"
    return graph.node("SkipLayerNormalization", [narrowed, normed, *names], [output], epsilon=shape.epsilon)


def write_onnx(directory: Path, file: E5File) -> None:
    """Write model.onnx and its weights model.onnx.data into `directory`."""
    import onnx
    from onnx import TensorProto, helper

    shape, tensors, graph = file.shape, file.tensors, _Graph()
    hidden_state = graph.node(
        "EmbedLayerNormalization",
        [
            "input_ids",
            "",
            graph.weight("emb.word", tensors["emb.word"].reshape(-1, shape.hidden)),
            graph.weight(
                "emb.pos", tensors["emb.pos"].reshape(-1, shape.hidden) + tensors["emb.type"][: shape.hidden]
            ),
            "",
            graph.weight("emb.ln.w", tensors["emb.ln.w"]),
            graph.weight("emb.ln.b", tensors["emb.ln.b"]),
            "attention_mask",
        ],
        ["embedded", "lengths"],
        epsilon=shape.epsilon,
    )
    for index in range(shape.layers):
        hidden_state = _layer(graph, file, index, hidden_state, "lengths")
    axes = ["batch", "tokens"]
    model = helper.make_model(
        helper.make_graph(
            graph.nodes,
            "multilingual-e5-small",
            [
                helper.make_tensor_value_info(name, TensorProto.INT32, axes)
                for name in ("input_ids", "attention_mask")
            ],
            [helper.make_tensor_value_info(hidden_state, TensorProto.FLOAT, [*axes, shape.hidden])],
            graph.initializers,
        ),
        opset_imports=[helper.make_opsetid("", _OPSET), helper.make_opsetid(_CONTRIB, 1)],
        ir_version=_IR_VERSION,
        producer_name="quantserve",
    )
    onnx.save_model(
        model,
        str(directory / MODEL_FILE),
        save_as_external_data=True,
        location=WEIGHTS_FILE,
        size_threshold=4096,
    )
