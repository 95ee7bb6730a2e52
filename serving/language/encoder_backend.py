"""Which runtime turns sentences into vectors: torch, ONNX Runtime, or the faster one on this machine.

The backend is part of the encoder's fingerprint, and so of every cache scope and calibration. All processes
that share a cache must therefore agree: the default is a fixed one, and what `auto` has measured is written
into the home once and holds from then on.
"""

import hashlib
import json
import statistics
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from loguru import logger

from serving.errors import EngineError
from serving.files import write_atomically, write_once
from serving.language.encoder import SentenceEncoder
from serving.language.encoder_onnx import in_onnx, is_supported
from serving.language.onnx_graph import VERSION
from serving.settings import Settings

Backend = Literal["onnx", "torch"]

WORTH_IT = 1.3
"""How many times as fast as torch ONNX Runtime must be to be chosen by `auto`."""
_ROUNDS = 15
_SENTENCES = (
    "can i pay off my personal loan early",
    "what is the monthly payment on twenty thousand dollars over five years",
)


@dataclass(frozen=True, slots=True)
class Measured:
    """What `auto` found on this machine.

    Attributes:
        torch_ms: median time of one sentence in torch.
        onnx_ms: the same in ONNX Runtime.
    """

    backend: Backend
    torch_ms: float
    onnx_ms: float


def with_backend(encoder: SentenceEncoder, settings: Settings) -> SentenceEncoder:
    """The encoder as serving runs it: as `settings.encoder_backend` says.

    A network that ONNX Runtime is not offered for stays in torch, on every machine alike.

    Raises:
        EngineError: ONNX Runtime was asked for, and refuses the network or gives other vectors.
    """
    if settings.encoder_backend == "torch":
        return encoder
    if not is_supported(encoder.model):
        logger.info("sentence encoder {} runs in torch: it is no BERT", encoder.name)
        return encoder
    if settings.encoder_backend == "onnx":
        return in_onnx(encoder)
    return _measured(encoder, settings.home)


def measured_file(home: Path, encoder: SentenceEncoder) -> Path:
    """Where `auto` keeps what it found for these weights."""
    identity = f"{encoder.fingerprint}:{VERSION}"
    return home / f"encoder-{hashlib.sha256(identity.encode()).hexdigest()[:16]}.json"


def _measured(encoder: SentenceEncoder, home: Path) -> SentenceEncoder:
    path = measured_file(home, encoder)
    known = _recorded(path)
    if known == "torch":
        return encoder
    try:
        twin = in_onnx(encoder)
    except EngineError as error:
        if known == "onnx":
            raise
        logger.warning("sentence encoder {} runs in torch: {}", encoder.name, error)
        return encoder
    if known == "onnx":
        return twin
    found = compare(encoder, twin)
    logger.info("sentence encoder {}: {}", encoder.name, found)
    return twin if _agreed(path, found) == "onnx" else encoder


def compare(encoder: SentenceEncoder, twin: SentenceEncoder) -> Measured:
    """Time both on a caller's sentences, in turns, so that a machine that gets busier does so for both."""
    times: dict[str, list[float]] = {"torch": [], "onnx": []}
    for _ in range(_ROUNDS):
        for name, one in (("torch", encoder), ("onnx", twin)):
            for sentence in _SENTENCES:
                begin = time.perf_counter()
                one.embed([sentence])
                times[name].append(time.perf_counter() - begin)
    torch_ms, onnx_ms = (1_000 * statistics.median(times[name]) for name in ("torch", "onnx"))
    faster = torch_ms >= WORTH_IT * onnx_ms
    return Measured("onnx" if faster else "torch", torch_ms, onnx_ms)


def _agreed(path: Path, found: Measured) -> Backend:
    """Keep what was found, unless another process was first: then what it found holds."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        content = json.dumps(asdict(found), sort_keys=True)
        if not write_once(path, content):
            known = _recorded(path)
            if known is not None:
                return known
            write_atomically(path, content)  # it was damaged
    except OSError as error:
        logger.warning("the encoder's backend cannot be kept in {}: {}", path, error.strerror)
    return found.backend


def _recorded(path: Path) -> Backend | None:
    """What was measured here before; None where nothing was, or it cannot be read."""
    try:
        found = json.loads(path.read_bytes())["backend"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return found if found in {"onnx", "torch"} else None
