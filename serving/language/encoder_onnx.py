"""The sentence encoder's network in ONNX Runtime: the same vectors in less than half of torch's time.

The graph is made in memory from the network's own weights (`serving.language.onnx_graph`): there is no file
that could be stale or damaged, and opening it takes less than a tenth of a second. Before it is used, its
vectors are compared with torch's; torch stays the reference, and the network that adapters are merged into.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from serving.errors import EngineError
from serving.language import onnx_graph
from serving.language.protocols import Embeddings

if TYPE_CHECKING:
    from torch import nn

    from serving.language.encoder import SentenceEncoder

LEAST_COSINE = 0.9999
"""Between a sentence's vectors from both backends; measured on 1,000 sentences: 1 - 1e-6 at worst."""
_PROBES = (
    "",
    "Hi.",
    "Can I pay off my loan early?",
    "what is the monthly payment on twenty thousand dollars over five years",
    "My card was taken yesterday 😟 and there are 3 payments of $20.55 that I did not make — what now? " * 4,
)
"""Of different lengths, so that padding counts."""
_QUIET = 3
"""ONNX Runtime's log level for errors."""


@dataclass(frozen=True, slots=True)
class OnnxNetwork:
    """A BERT with mean pooling in ONNX Runtime, on one thread; any number of threads may share it."""

    session: Any

    name = f"onnxruntime, graph {onnx_graph.VERSION}"

    def vectors(self, ids: NDArray[np.int64], mask: NDArray[np.int64]) -> Embeddings:
        """Unit vectors of shape (texts, dimension) for token ids and mask of shape (texts, tokens)."""
        feed = {onnx_graph.IDS: ids, onnx_graph.MASK: mask}
        (vectors,) = self.session.run([onnx_graph.VECTORS], feed)
        found: Embeddings = vectors
        return found


def is_supported(network: "nn.Module") -> bool:
    """Whether the graph can be written for this network: a BERT with its usual activation and positions."""
    config: Any = network.config
    return (
        getattr(config, "model_type", "") == "bert"
        and getattr(config, "hidden_act", "") == "gelu"
        and getattr(config, "position_embedding_type", None) in {None, "absolute"}
    )


def open_network(network: "nn.Module") -> OnnxNetwork:
    """Put a network into ONNX Runtime.

    Raises:
        EngineError: it is of another architecture, or ONNX Runtime refuses it.
    """
    if not is_supported(network):
        raise EngineError(
            "This sentence encoder is no BERT; ONNX Runtime is only offered for those.",
            advice="Set VOICEBOT_ENCODER_BACKEND=torch.",
        )
    config: Any = network.config
    shape = onnx_graph.BertShape(
        config.hidden_size, config.num_attention_heads, config.num_hidden_layers, config.layer_norm_eps
    )
    weights = {name: tensor.detach().numpy() for name, tensor in network.named_parameters()}
    return OnnxNetwork(_session(*onnx_graph.bert_graph(shape, weights)))


def in_onnx(encoder: "SentenceEncoder") -> "SentenceEncoder":
    """The same encoder whose `embed` runs in ONNX Runtime, after its vectors were compared with torch's.

    Raises:
        EngineError: it is of another architecture, ONNX Runtime refuses it, or a vector differs.
    """
    twin = encoder.running(open_network(encoder.model))
    cosines = np.sum(encoder.embed(_PROBES) * twin.embed(_PROBES), axis=1)
    if not cosines.min() >= LEAST_COSINE:
        raise EngineError(
            f"ONNX Runtime's vectors are not those of torch: cosine {cosines.min():.6f}, expected "
            f"{LEAST_COSINE} at least.",
            advice="Set VOICEBOT_ENCODER_BACKEND=torch, and report the processor and onnxruntime's version.",
        )
    return twin


def _session(model: bytes, weights: onnx_graph.Weights) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = _QUIET
    # Both keep the memory of the largest batch ever seen, and save nothing measurable on a sentence.
    options.enable_cpu_mem_arena = False
    options.enable_mem_pattern = False
    values = [onnxruntime.OrtValue.ortvalue_from_numpy(array) for array in weights.values()]
    try:
        options.add_external_initializers(list(weights), values)
        return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its exceptions have no base of their own
        raise EngineError(
            f"ONNX Runtime refuses the sentence encoder: {error}",
            advice="Install the pinned onnxruntime (`make install`), or set VOICEBOT_ENCODER_BACKEND=torch.",
        ) from error
