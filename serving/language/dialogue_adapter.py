"""What a dialogue adapter says about the model that it belongs to: `dialogue.json` in its bundle.

A LoRA adapter fits any base of the same shape, and on another one it talks nonsense without an error. So
the adapter names its base by the weights on disk and by the tokenizer, and keeps how sure it was of a few
known answers right after training; whoever loads it asks again. Nothing here trains or registers anything.
"""

import hashlib
import json
import math
import struct
from collections.abc import Mapping, Sequence
from dataclasses import asdict, astuple, dataclass, replace
from pathlib import Path
from typing import Any, Self

from serving.errors import IntegrityError, MissingError
from serving.files import write_atomically
from serving.language.causal_lm import CausalLm, precision_of, with_adapter
from serving.language.prompt_tokens import answer_ids, prompt_ids
from serving.language.protocols import Message

DIALOGUE_FILE = "dialogue.json"
SCHEMA = 1
_TOKENIZER_FILES = (
    "added_tokens.json",
    "chat_template.jinja",
    "special_tokens_map.json",
    "tekken.json",
    "tokenizer.json",
    "tokenizer.model",
    "tokenizer_config.json",
)
_TRAIN_AGAIN = "Train the adapter again on the base that serves."
_RULES = Message("system", "You are the phone agent of a bank. Answer in one short sentence.")
_PROBES = (
    ("I lost my card yesterday.", "I am sorry to hear that. I can block the card for you."),
    ("What would a loan cost me?", "How much would you like to borrow?"),
    ("Thank you, goodbye.", "Thank you for calling. Goodbye."),
)
_MOST_PROBES = 64
TOLERANCE: Mapping[str, float] = {"float32": 1e-3, "bfloat16": 0.05, "float16": 0.05, "nf4": 0.05}
"""Largest difference of a known answer's loss (nats per token) after loading, by precision: rounding on
another machine stays far below it."""
OTHER_PRECISION = 0.25
"""The same where the adapter answers in another precision than it was trained in."""


@dataclass(frozen=True, slots=True)
class DialogueProbe:
    """A known answer, and how likely it was right after training.

    Attributes:
        loss: mean negative log-likelihood of the answer's tokens, in nats.
    """

    question: str
    answer: str
    loss: float


@dataclass(frozen=True, slots=True)
class DialogueFacts:
    """What `dialogue.json` says.

    Attributes:
        base: the base's own name, for people.
        weights_sha256: the base's weights on disk (`weights_sha256`), whatever precision they are loaded in.
        tokenizer_sha256: its tokenizer and chat template (`tokenizer_sha256`).
        prompt_sha256: the rules under which it was trained (`serving.language.prompt.prompt_sha256`).
        tools: tool sets whose calls it learned.
        precision: of the base while it was trained: `float32`, `bfloat16` or `nf4`.
        probes: known answers.
    """

    base: str
    weights_sha256: str
    tokenizer_sha256: str
    prompt_sha256: str
    tools: tuple[str, ...]
    precision: str
    probes: tuple[DialogueProbe, ...]

    def save(self, folder: Path) -> None:
        """Write `dialogue.json` into a bundle that is being made."""
        text = json.dumps({"schema": SCHEMA, **asdict(self)}, indent=2, ensure_ascii=False, allow_nan=False)
        write_atomically(folder / DIALOGUE_FILE, text + "\n")

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read `dialogue.json` of a bundle.

        Raises:
            IntegrityError: it is missing, or is not what `save` writes.
        """
        try:
            fields: dict[str, Any] = dict(json.loads((folder / DIALOGUE_FILE).read_text(encoding="utf-8")))
            if fields.pop("schema") != SCHEMA:
                raise ValueError(f"schema {SCHEMA} is expected")
            fields["tools"] = tuple(str(name) for name in fields["tools"])
            fields["probes"] = tuple(DialogueProbe(**probe) for probe in fields["probes"])
            _require_sound(fields)
            return cls(**fields)
        except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:
            raise IntegrityError(
                f"{DIALOGUE_FILE} of the adapter cannot be used: {error}.", advice=_TRAIN_AGAIN
            ) from error


def _require_sound(fields: Mapping[str, Any]) -> None:
    """Refuse fields that are not what they must be; without a known answer nothing could be asked again.

    Raises:
        ValueError: one is not.
    """
    names = ("base", "weights_sha256", "tokenizer_sha256", "prompt_sha256", "precision")
    if wrong := [name for name in names if not isinstance(fields.get(name), str)]:
        raise ValueError(f"{wrong[0]} is no text")
    if not 0 < len(fields["probes"]) <= _MOST_PROBES:
        raise ValueError(f"it has {len(fields['probes'])} known answers, 1 to {_MOST_PROBES} are expected")
    for question, answer, loss in map(astuple, fields["probes"]):
        spoken = all(isinstance(text, str) and text for text in (question, answer))
        if not spoken or not isinstance(loss, int | float) or not math.isfinite(loss):
            raise ValueError("a known answer is not two texts and a finite loss")


@dataclass(frozen=True, slots=True)
class BaseIdentity:
    """Which model a folder holds.

    Attributes:
        weights_sha256: see `weights_sha256`.
        tokenizer_sha256: see `tokenizer_sha256`.
    """

    weights_sha256: str
    tokenizer_sha256: str

    @classmethod
    def of(cls, folder: Path) -> Self:
        """Read every weight of a model folder once; a model of 14 GB takes ten seconds or more.

        Raises:
            MissingError: there are no weights or no tokenizer.
            IntegrityError: a weights file is damaged.
        """
        return cls(weights_sha256(folder), tokenizer_sha256(folder))

    def require(self, facts: DialogueFacts, label: str) -> None:
        """Refuse an adapter that belongs to another model.

        Raises:
            IntegrityError: weights or tokenizer are others than those that it was trained with.
        """
        for what, ours, its in (
            ("weights", self.weights_sha256, facts.weights_sha256),
            ("tokenizer", self.tokenizer_sha256, facts.tokenizer_sha256),
        ):
            if ours != its:
                raise IntegrityError(
                    f"The adapter {label} was trained on another base, {facts.base}: its {what} are "
                    f"{its[:12]}…, those here {ours[:12]}….",
                    advice="Set VOICEBOT_LOCAL_LLM to the adapter's base, or train the adapter on this one.",
                )


def weights_sha256(folder: Path) -> str:
    """Sha256 over names, types, shapes and bytes of a model's tensors, however they are spread over files.

    Raises:
        MissingError: the folder holds no model.safetensors, whole or in parts.
        IntegrityError: a file is no safetensors file.
    """
    found: dict[str, str] = {}
    for path in _weights_files(folder):
        try:
            found |= _tensor_hashes(path)
        except (OSError, ValueError, TypeError, KeyError, struct.error) as error:
            raise IntegrityError(f"The weights {path.name} cannot be read: {error}.") from error
    return hashlib.sha256("".join(f"{name} {found[name]}\n" for name in sorted(found)).encode()).hexdigest()


def tokenizer_sha256(folder: Path) -> str:
    """Sha256 over the files that decide how a text becomes tokens, the chat template included.

    Raises:
        MissingError: the folder holds none of them.
    """
    digest, found = hashlib.sha256(), 0
    for name in _TOKENIZER_FILES:
        path = folder / name
        if path.is_file():
            data = path.read_bytes()
            digest.update(f"{name} {len(data)}\n".encode() + data)
            found += 1
    if not found:
        raise MissingError(f"{folder} holds no tokenizer, so the model cannot be identified.")
    return digest.hexdigest()


def measured_probes(lm: CausalLm) -> tuple[DialogueProbe, ...]:
    """How likely a model finds the known answers; asked right after training."""
    texts = [DialogueProbe(question, answer, 0.0) for question, answer in _PROBES]
    losses = probe_losses(lm, texts)
    return tuple(replace(probe, loss=loss) for probe, loss in zip(texts, losses, strict=True))


def probe_losses(lm: CausalLm, probes: Sequence[DialogueProbe]) -> list[float]:
    """Mean loss per token of each known answer, behind its own prompt, in nats."""
    import torch

    losses = []
    for probe in probes:
        asked = (_RULES, Message("user", probe.question))
        prompt = prompt_ids(lm, asked, ())
        answer = answer_ids(lm, asked, (), Message("assistant", probe.answer))
        ids = torch.tensor([[*prompt, *answer]], device=lm.model.device)
        with torch.inference_mode():
            logits = lm.model(input_ids=ids).logits[0, len(prompt) - 1 : -1].float()
        losses.append(float(torch.nn.functional.cross_entropy(logits, ids[0, len(prompt) :])))
    return losses


def reload_difference(lm: CausalLm, facts: DialogueFacts) -> float:
    """Largest difference of a known answer's loss between the trained and the loaded model, in nats."""
    losses = probe_losses(lm, facts.probes)
    gaps = [abs(loss - probe.loss) for loss, probe in zip(losses, facts.probes, strict=True)]
    return max(gaps, default=0.0)


def reload_limit(lm: CausalLm, facts: DialogueFacts) -> float:
    """How large `reload_difference` may be for a model in its precision."""
    same = precision_of(lm) == facts.precision
    return TOLERANCE.get(facts.precision, OTHER_PRECISION) if same else OTHER_PRECISION


def adapted(lm: CausalLm, adapter: Path, label: str, base: BaseIdentity) -> CausalLm:
    """A base with a verified adapter beside its weights, proven by its known answers.

    Args:
        lm: the base without an adapter; stays as it is, and shares its weights.
        adapter: the bundle, verified by whoever fetched it.
        label: what the model is called then.
        base: what `lm` was loaded from.

    Raises:
        IntegrityError: the adapter is for another base or tokenizer, does not fit, or does not answer as it
            did after training.
    """
    facts = DialogueFacts.load(adapter)
    base.require(facts, label)
    made = with_adapter(lm, adapter, label)
    gap, limit = reload_difference(made, facts), reload_limit(made, facts)
    if not gap <= limit:
        raise IntegrityError(
            f"{label} does not answer as it did after training: a known answer's loss differs by "
            f"{gap:.3g} nats a token, at most {limit:g} is expected.",
            advice="The base or a library differs from the one that trained it; train it again here.",
        )
    return made


def _weights_files(folder: Path) -> list[Path]:
    """The files that transformers loads; a folder may hold the same weights once more in another layout."""
    whole, index = folder / "model.safetensors", folder / "model.safetensors.index.json"
    if whole.is_file():
        return [whole]
    try:
        names = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
        return [folder / name for name in sorted(names)]
    except FileNotFoundError:
        raise MissingError(f"{folder} holds no {whole.name}, so the model cannot be identified.") from None
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise IntegrityError(f"{index.name} cannot be read: {error}.") from error


def _tensor_hashes(path: Path) -> dict[str, str]:
    """Hash of each tensor of a safetensors file, read in the order in which they lie."""
    with path.open("rb") as handle:
        (length,) = struct.unpack("<Q", handle.read(8))
        header = json.loads(handle.read(length))
        header.pop("__metadata__", None)
        found = {}
        for name, entry in sorted(header.items(), key=lambda item: item[1]["data_offsets"][0]):
            start, end = entry["data_offsets"]
            digest = hashlib.sha256(f"{entry['dtype']} {entry['shape']}\n".encode())
            handle.seek(8 + length + start)
            left = end - start
            while left:
                piece = handle.read(min(left, 1 << 22))
                if not piece:
                    raise ValueError("it ends too early")
                digest.update(piece)
                left -= len(piece)
            found[name] = digest.hexdigest()
    return found
