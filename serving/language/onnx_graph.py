"""A BERT-like encoder as an ONNX graph, written from its configuration and the names of its weights.

The graph is made of public ONNX operators (opset 17) and ends in unit sentence vectors. It holds no weight:
each is declared as lying outside, and who runs the graph hands over the network's own tensors, so nothing has
to be exported to a file, kept in step with the weights, or verified. The few messages of ONNX's protocol
buffer that this takes are written here (field numbers from onnx.proto3), because the `onnx` package and the
exporters that need it would be three more dependencies.
"""

import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

VERSION = 1
"""Goes up with every change of the graph that may change a bit of a vector; part of the fingerprint."""
IDS, MASK, VECTORS = "ids", "mask", "vectors"
"""Inputs: int64, shape (texts, tokens). Output: float32, shape (texts, dimension), rows of length 1."""
Weights = Mapping[str, NDArray[np.float32]]
_IR, _OPSET = 8, 17
_FLOAT, _INT64 = 1, 7
_EXTERNAL = 1


@dataclass(frozen=True, slots=True)
class BertShape:
    """What a BERT's configuration says about its sizes.

    Attributes:
        epsilon: of every layer normalisation.
    """

    hidden: int
    heads: int
    layers: int
    epsilon: float


def bert_graph(shape: BertShape, weights: Weights) -> tuple[bytes, dict[str, NDArray[np.float32]]]:
    """The graph as an ONNX model, and the weights that it asks for.

    Args:
        shape: sizes of the network.
        weights: parameters by their names in `transformers.BertModel`; linear ones of shape (out, in).

    Returns:
        The serialised model; name → array for each weight that lies outside it.

    Raises:
        KeyError: a weight of a BERT is not among `weights`.
    """
    graph = _Graph()
    hidden = _embedded(graph, shape, weights)
    hidden = _attended_layers(graph, shape, weights, hidden)
    _pooled(graph, hidden)
    return graph.model(), graph.outside


class _Graph:
    """Nodes in order of computation, with the constants that they use."""

    def __init__(self) -> None:
        self.outside: dict[str, NDArray[np.float32]] = {}
        self._nodes: list[bytes] = []
        self._constants: list[bytes] = []
        self._made = 0

    def node(self, kind: str, *inputs: str, output: str = "", **attributes: float | int | list[int]) -> str:
        """Add a node with one output; its name."""
        self._made += 1
        name = output or f"{kind}_{self._made}"
        parts = [_text(1, each) for each in inputs]
        parts += [_text(2, name), _text(3, f"{kind}:{self._made}"), _text(4, kind)]
        parts += [_bytes(5, _attribute(key, value)) for key, value in attributes.items()]
        self._nodes.append(b"".join(parts))
        return name

    def weight(self, name: str, array: NDArray[np.float32]) -> str:
        """Declare a weight that the runner hands over."""
        if name not in self.outside:
            self.outside[name] = np.ascontiguousarray(array, np.float32)
            entry = _text(1, "location") + _text(2, name)
            declared = _dims(array.shape) + _number(2, _FLOAT) + _text(8, name)
            self._constants.append(declared + _bytes(13, entry) + _number(14, _EXTERNAL))
        return name

    def floats(self, *values: float) -> str:
        """A small constant: a scalar for one value."""
        return self._constant(np.asarray(values if len(values) > 1 else values[0], np.float32), _FLOAT)

    def integers(self, *values: int) -> str:
        """A small constant of shape (len(values),)."""
        return self._constant(np.asarray(values, np.int64), _INT64)

    def _constant(self, array: NDArray[np.float32] | NDArray[np.int64], kind: int) -> str:
        self._made += 1
        name = f"constant_{self._made}"
        raw = array.astype(array.dtype.newbyteorder("<")).tobytes()
        self._constants.append(_dims(array.shape) + _number(2, kind) + _text(8, name) + _bytes(9, raw))
        return name

    def model(self) -> bytes:
        """The whole as a ModelProto."""
        graph = b"".join(_bytes(1, node) for node in self._nodes) + _text(2, "sentence encoder")
        graph += b"".join(_bytes(5, constant) for constant in self._constants)
        graph += b"".join(_bytes(11, _declared(name, _INT64, ("texts", "tokens"))) for name in (IDS, MASK))
        graph += _bytes(12, _declared(VECTORS, _FLOAT, ("texts", "dimension")))
        opset = _text(1, "") + _number(2, _OPSET)
        return _number(1, _IR) + _text(2, "voicebot") + _bytes(7, graph) + _bytes(8, opset)


def _embedded(graph: _Graph, shape: BertShape, weights: Weights) -> str:
    """Word, position and token type, normalised; shape (texts, tokens, hidden)."""
    words = graph.node("Gather", _same(graph, weights, "embeddings.word_embeddings.weight"), IDS, axis=0)
    tokens = graph.node("Gather", graph.node("Shape", IDS), graph.integers(1), axis=0)
    # Every text is of token type 0: its row joins the positions once, not each text.
    places = weights["embeddings.position_embeddings.weight"]
    place = graph.weight("positions", places + weights["embeddings.token_type_embeddings.weight"][0])
    positions = graph.node("Slice", place, graph.integers(0), tokens, graph.integers(0))
    return _normalised(graph, shape, weights, "embeddings", graph.node("Add", words, positions))


def _attended_layers(graph: _Graph, shape: BertShape, weights: Weights, hidden: str) -> str:
    # 0 where a token is, far below any score where padding is; shape (texts, 1, 1, tokens).
    padding = graph.node("Sub", graph.floats(1.0), graph.node("Cast", MASK, to=_FLOAT))
    bias = graph.node("Unsqueeze", graph.node("Mul", padding, graph.floats(-1e9)), graph.integers(1, 2))
    for layer in range(shape.layers):
        name = f"encoder.layer.{layer}"
        mixed = _attention(graph, shape, weights, f"{name}.attention.self", hidden, bias)
        mixed = _linear(graph, weights, f"{name}.attention.output.dense", mixed)
        hidden = _normalised(
            graph, shape, weights, f"{name}.attention.output", graph.node("Add", mixed, hidden)
        )
        wide = _gelu(graph, _linear(graph, weights, f"{name}.intermediate.dense", hidden))
        narrow = _linear(graph, weights, f"{name}.output.dense", wide)
        hidden = _normalised(graph, shape, weights, f"{name}.output", graph.node("Add", narrow, hidden))
    return hidden


def _attention(graph: _Graph, shape: BertShape, weights: Weights, name: str, hidden: str, bias: str) -> str:
    """Softmax(q kᵀ / √size + bias) v for every head (Vaswani et al. 2017, equation 1)."""
    size = shape.hidden // shape.heads
    split = graph.integers(0, 0, shape.heads, size)
    heads = {
        part: graph.node("Reshape", _linear(graph, weights, f"{name}.{part}", hidden), split)
        for part in ("query", "key", "value")
    }
    query = graph.node("Transpose", heads["query"], perm=[0, 2, 1, 3])
    key = graph.node("Transpose", heads["key"], perm=[0, 2, 3, 1])
    value = graph.node("Transpose", heads["value"], perm=[0, 2, 1, 3])
    scores = graph.node("Mul", graph.node("MatMul", query, key), graph.floats(size**-0.5))
    shares = graph.node("Softmax", graph.node("Add", scores, bias), axis=-1)
    mixed = graph.node("Transpose", graph.node("MatMul", shares, value), perm=[0, 2, 1, 3])
    return graph.node("Reshape", mixed, graph.integers(0, 0, shape.hidden))


def _pooled(graph: _Graph, hidden: str) -> None:
    """Mean over tokens, scaled to length 1: `serving.language.encoder.sentence_vectors`."""
    shares = graph.node("Unsqueeze", graph.node("Cast", MASK, to=_FLOAT), graph.integers(2))
    total = graph.node("ReduceSum", graph.node("Mul", hidden, shares), graph.integers(1), keepdims=0)
    count = graph.node("ReduceSum", shares, graph.integers(1), keepdims=0)
    mean = graph.node("Div", total, graph.node("Max", count, graph.floats(1e-9)))
    length = graph.node("ReduceL2", mean, axes=[1], keepdims=1)
    graph.node("Div", mean, graph.node("Max", length, graph.floats(1e-12)), output=VECTORS)


def _linear(graph: _Graph, weights: Weights, name: str, values: str) -> str:
    turned = graph.weight(f"{name}.weight.T", weights[f"{name}.weight"].T)
    return graph.node("Add", graph.node("MatMul", values, turned), _same(graph, weights, f"{name}.bias"))


def _normalised(graph: _Graph, shape: BertShape, weights: Weights, name: str, values: str) -> str:
    scale, shift = (_same(graph, weights, f"{name}.LayerNorm.{part}") for part in ("weight", "bias"))
    return graph.node("LayerNormalization", values, scale, shift, axis=-1, epsilon=shape.epsilon)


def _gelu(graph: _Graph, values: str) -> str:
    """Half of x · (1 + erf(x / √2)), in the order of operations that runtimes know and fuse."""
    inner = graph.node("Erf", graph.node("Div", values, graph.floats(2**0.5)))
    outer = graph.node("Mul", values, graph.node("Add", inner, graph.floats(1.0)))
    return graph.node("Mul", outer, graph.floats(0.5))


def _same(graph: _Graph, weights: Weights, name: str) -> str:
    return graph.weight(name, weights[name])


def _declared(name: str, kind: int, axes: Sequence[str]) -> bytes:
    shape = b"".join(_bytes(1, _text(2, axis)) for axis in axes)
    return _text(1, name) + _bytes(2, _bytes(1, _number(1, kind) + _bytes(2, shape)))


def _attribute(name: str, value: float | int | list[int]) -> bytes:
    if isinstance(value, list):
        return _text(1, name) + b"".join(_number(8, each) for each in value) + _number(20, 7)
    if isinstance(value, float):
        return _text(1, name) + _key(2, 5) + struct.pack("<f", value) + _number(20, 1)
    return _text(1, name) + _number(3, value) + _number(20, 2)


def _dims(shape: Sequence[int]) -> bytes:
    return b"".join(_number(1, size) for size in shape)


def _text(field: int, value: str) -> bytes:
    return _bytes(field, value.encode())


def _bytes(field: int, value: bytes) -> bytes:
    return _key(field, 2) + _varint(len(value)) + value


def _number(field: int, value: int) -> bytes:
    return _key(field, 0) + _varint(value & 0xFFFF_FFFF_FFFF_FFFF)


def _key(field: int, wire: int) -> bytes:
    return _varint(field << 3 | wire)


def _varint(value: int) -> bytes:
    return bytes(_septets(value))


def _septets(value: int) -> Iterator[int]:
    while value > 0x7F:
        yield value & 0x7F | 0x80
        value >>= 7
    yield value
