"""The encoder's graph with 8-bit weights, to see what it would change; serving does not offer it.

Weights are quantised once, symmetrically, a scale for each output; activations at run time (ONNX's
DynamicQuantizeLinear), as onnxruntime's own dynamic quantisation does.
"""

from unittest.mock import patch

import numpy as np
from numpy.typing import NDArray

from serving.language import onnx_graph
from serving.language.encoder import SentenceEncoder
from serving.language.encoder_onnx import open_network

_INT8 = 3


def in_int8(encoder: SentenceEncoder) -> SentenceEncoder:
    """The encoder with every matrix of weights in 8 bits."""
    with patch.object(onnx_graph, "_Graph", _Int8Graph):
        return encoder.running(open_network(encoder.model))


class _Int8Graph(onnx_graph._Graph):
    """Products with a weight become products of integers."""

    def node(self, kind: str, *inputs: str, output: str = "", **attributes: float | int | list[int]) -> str:
        if kind != "MatMul" or inputs[1] not in self.outside:
            return super().node(kind, *inputs, output=output, **attributes)
        weight: NDArray[np.float32] = self.outside.pop(inputs[1])
        self._constants = [each for each in self._constants if inputs[1].encode() not in each]
        scales = np.abs(weight).max(axis=0) / 127
        small = np.round(weight / scales).astype(np.int8)
        quantised, scale, zero = (f"{inputs[1]}:{part}" for part in ("values", "scale", "zero"))
        parts = [onnx_graph._text(1, inputs[0])]
        parts += [onnx_graph._text(2, name) for name in (quantised, scale, zero)]
        parts += [onnx_graph._text(4, "DynamicQuantizeLinear")]
        self._nodes.append(b"".join(parts))
        packed = onnx_graph._dims(small.shape) + onnx_graph._number(2, _INT8)
        name = f"{inputs[1]}:int8"
        self._constants.append(packed + onnx_graph._text(8, name) + onnx_graph._bytes(9, small.tobytes()))
        product = super().node("MatMulInteger", quantised, name, zero)
        exact = super().node("Cast", product, to=onnx_graph._FLOAT)
        both = super().node("Mul", scale, self.weight(f"{inputs[1]}:scales", scales))
        return super().node("Mul", exact, both)
