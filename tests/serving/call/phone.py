"""A bank to call in tests: the project's knowledge, rates, wordings and tools, with small engines of our own.

The tagger goes by phrases, the recogniser gives the transcripts it was told, the voice has a known length
per character, the detector hears loudness, and time is a counter that only moves when a test moves it.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from serving.audio import SPEECH_RATE, AudioClip, Samples, concatenate, silence
from serving.cache.build import build_from_knowledge
from serving.cache.lookup import SemanticCache
from serving.cache.signature import Signer
from serving.cache.types import CacheScope
from serving.call.caller import CallerLine, Feedback
from serving.call.clock import FileClock
from serving.call.patience import Patience
from serving.call.ports import CallObserver, Engines, Journal, Records, Responding
from serving.call.record import CallRecord, TurnRecord
from serving.call.responder import Responder
from serving.call.session import CallSession, new_call_id
from serving.call.store import CallStore
from serving.call.toolbox import Toolbox
from serving.errors import EngineError
from serving.language.embedded import EmbeddedResponder
from serving.language.knowledge import Knowledge, load_knowledge
from serving.language.lexicon import Lexicon, load_lexicon
from serving.language.protocols import Embeddings, IntentTag, Llm, LlmEvent, LlmRequest
from serving.settings import Settings, default_data_dir
from serving.speech.protocols import EngineInfo, SttEngine, Transcript, TtsEngine
from serving.telemetry.redaction import keyed_hash
from serving.tools.bank import bank_tools
from serving.tools.compliance import ComplianceLibrary, load_compliance
from serving.tools.executor import ToolExecutor
from serving.tools.protocols import Tool
from serving.tools.rates import load_rates

TODAY = date(2026, 11, 20)
KEY = b"a key for tests, 32 bytes long.."
OUT_OF_SCOPE = "out_of_scope"
RULES = (
    ("agent", "speak_to_agent"), ("record", "recording_opt_out"), ("say that again", "repeat_that"),
    ("bye", "goodbye"), ("hello", "greeting"), ("thank", "thanks"), ("yes", "affirm"), ("no", "deny"),
    ("plan", "payment_plan_quote"), ("monthly payment|borrow", "loan_payment_quote"),
    ("early", "loan_early_repayment"), ("law", "kyc_requirements"), ("lost my card", "lost_or_stolen_card"),
    ("branch", "branch_hours"), ("my name", "verify_my_identity"), ("card number", "verify_my_identity"),
)  # fmt: skip
"""Phrase → intent, first match wins; anything else is out of scope."""


class KeywordTagger:
    """An intent tagger that goes by phrases."""

    def __init__(self, version: str = "keywords/1", rules: Sequence[tuple[str, str]] = RULES) -> None:
        self.version = version
        self._rules = rules
        self.labels = tuple(dict.fromkeys([*(label for _, label in rules), OUT_OF_SCOPE]))

    def tag(self, text: str) -> IntentTag:
        for phrase, label in self._rules:
            if re.search(rf"\b{phrase}\b", text.lower()):
                return IntentTag(label, 0.99, 9.0, True, self.version)
        return IntentTag(OUT_OF_SCOPE, 0.4, -9.0, False, self.version)


class WordEmbedder:
    """Bags of words as unit vectors; the more words two texts share, the nearer."""

    dimension = 256
    fingerprint = "words-256"

    def embed(self, texts: Sequence[str]) -> Embeddings:
        vectors = np.zeros((len(texts), self.dimension), np.float32)
        for row, text in enumerate(texts):
            for word in re.findall(r"[a-z']+", text.lower()):
                vectors[row, sum(ord(c) * 31**i for i, c in enumerate(word)) % self.dimension] += 1
        lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
        return np.asarray(vectors / np.maximum(lengths, 1e-9), np.float32)


class Counter:
    """Seconds that stand still until somebody works."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds

    def work(self, seconds: float) -> None:
        self.seconds += seconds


class LoudnessVad:
    """Speech is whatever is loud."""

    chunk_samples = 512

    def probability(self, chunk: Samples) -> float:
        return 1.0 if float(np.abs(chunk).mean()) > 500 else 0.0

    def reset(self) -> None:
        pass


Told = str | tuple[str, float] | Exception


class ToldStt:
    """Gives the transcripts that it was told, in order; an exception is raised in its place.

    Args:
        told: texts (sure), texts with a confidence, or exceptions.
        counter: moved by `lag_s` for each fed second, and by `finish_s` at the end.
    """

    info = EngineInfo("told", "a list")

    def __init__(
        self,
        told: Iterable[Told],
        counter: Counter | None = None,
        *,
        lag_s: float = 0.0,
        finish_s: float = 0.0,
    ) -> None:
        self.told = iter(told)
        self.fed: list[int] = []
        self.open = 0
        self._counter = counter or Counter()
        self._lag_s, self._finish_s = lag_s, finish_s

    def stream(self) -> "ToldStream":
        self.fed.append(0)
        self.open += 1
        return ToldStream(self)

    def feed(self, samples: int) -> None:
        self.fed[-1] += samples
        self._counter.work(self._lag_s * samples / SPEECH_RATE)

    def finish(self) -> Transcript:
        self.open -= 1
        self._counter.work(self._finish_s)
        told = next(self.told, "") if self.fed[-1] else ""
        if isinstance(told, Exception):
            raise told
        text, confidence = told if isinstance(told, tuple) else (told, 0.95)
        return Transcript(text, confidence, self.info.name, self.fed[-1] / SPEECH_RATE)


@dataclass
class ToldStream:
    engine: ToldStt

    def feed(self, samples: Samples) -> None:
        self.engine.feed(len(samples))

    def partial(self) -> str:
        return ""

    def guess(self) -> Callable[[], Transcript]:
        def nothing() -> Transcript:
            raise EngineError("Only the end of an utterance is known.")

        return nothing

    def finish(self) -> Transcript:
        return self.engine.finish()

    def cancel(self) -> None:
        self.engine.open -= 1


class HummingTts:
    """Ten milliseconds of sound for each character; remembers what it was given."""

    info = EngineInfo("humming", "a tone")
    rate = 16_000

    def __init__(self, counter: Counter | None = None, *, work_s: float = 0.0) -> None:
        self.said: list[str] = []
        self._counter = counter or Counter()
        self._work_s = work_s

    def synthesise(self, text: str) -> Iterator[AudioClip]:
        self.said.append(text)
        self._counter.work(self._work_s)
        yield loud(0.01 * len(text), self.rate)


class TellingLlm:
    """An engine that answers each request with the next of its scripted events."""

    def __init__(self, *turns: Sequence[LlmEvent] | Exception, name: str = "telling") -> None:
        self.info = EngineInfo(name, "a script")
        self.requests: list[LlmRequest] = []
        self._turns = iter(turns)

    def stream(self, request: LlmRequest) -> Iterator[LlmEvent]:
        self.requests.append(request)
        events = next(self._turns)
        if isinstance(events, Exception):
            raise events
        yield from events


def loud(seconds: float, rate: int = SPEECH_RATE) -> AudioClip:
    """Sound that counts as speech."""
    times = np.arange(round(seconds * rate)) / rate
    return AudioClip((8_000 * np.sin(2 * np.pi * 200 * times)).astype(np.int16), rate)


def quiet(seconds: float, rate: int = SPEECH_RATE) -> AudioClip:
    """Background noise that does not."""
    noise = np.random.default_rng(3).integers(-100, 100, round(seconds * rate))
    return AudioClip(noise.astype(np.int16), rate)


def spoken(*seconds: float, pause_s: float = 1.5, rate: int = SPEECH_RATE) -> CallerLine:
    """A line with one loud stretch for each length, silence between them."""
    clips = [clip for length in seconds for clip in (silence(pause_s, rate), loud(length, rate))]
    return CallerLine(concatenate(clips[1:], rate))


def typed(*texts: str) -> list[CallerLine]:
    """Typed lines."""
    return [CallerLine(None, text) for text in texts]


@dataclass
class LinesCaller:
    """Says its lines, then hangs up."""

    lines: Iterable[CallerLine]
    feedback: Feedback = field(default_factory=Feedback)
    transport: str = "text"

    def __post_init__(self) -> None:
        self._lines = iter(self.lines)

    def next_line(self) -> CallerLine | None:
        return next(self._lines, None)


@dataclass
class Watcher:
    """An observer that keeps what it was told."""

    turns: list[TurnRecord] = field(default_factory=list)
    calls: list[CallRecord] = field(default_factory=list)

    def turn_committed(self, turn: TurnRecord) -> None:
        self.turns.append(turn)

    def call_ended(self, call: CallRecord) -> None:
        self.calls.append(call)


@cache
def knowledge() -> Knowledge:
    return load_knowledge(default_data_dir() / "knowledge" / "answers.yaml")


@cache
def texts() -> ComplianceLibrary:
    return load_compliance(default_data_dir() / "compliance")


@cache
def signer() -> Signer:
    lexicon: Lexicon = load_lexicon(default_data_dir() / "lexicons" / "signature.yaml")
    return Signer(lexicon, lambda kind, value: keyed_hash(kind, value, KEY))


SCOPE = CacheScope("t", "en-US", "k", "p", "keywords", "none", "embedded", WordEmbedder.fingerprint)


@cache
def _tools(today: date) -> tuple[Tool, ...]:
    rates = load_rates(default_data_dir() / "knowledge" / "rates.yaml")
    return bank_tools(rates, texts(), bank_name="Harbour Bank", jurisdiction="US", today=lambda: today)


def fill_cache(folder: Path) -> None:
    """Build the cache of the project's knowledge."""
    now = datetime(TODAY.year, TODAY.month, TODAY.day, tzinfo=UTC)
    build_from_knowledge(folder, SCOPE, knowledge(), signer(), WordEmbedder(), actor="test", now=now)


def toolbox(
    cache_folder: Path, llm: Llm | None = None, *, today: date = TODAY, patience_s: float = 5.0,
    extra_tools: Sequence[Tool] = (),
) -> Toolbox:  # fmt: skip
    """What calls share; without an `llm` the embedded responder answers."""
    embedded = EmbeddedResponder(knowledge().prompts)
    now = datetime(today.year, today.month, today.day, 12, tzinfo=UTC)
    return Toolbox(
        knowledge=knowledge(),
        signer=signer(),
        cache=SemanticCache(cache_folder, WordEmbedder(), threshold=0.75, now=lambda: now),
        llm=llm or embedded,
        fallback=embedded,
        executor=ToolExecutor([*_tools(today), *extra_tools], timeout_s=5.0),
        notice_flows={text.id: text.flow_type.value for text in texts().texts},
        confirm_below=0.5,
        today=lambda: today,
        currency="USD",
        bank_name="Harbour Bank",
        greeting=knowledge().prompt("greeting").format(bank_name="Harbour Bank"),
        patience=Patience(patience_s),
    )


@dataclass
class Bank:
    """One installation; `call` carries a whole call through it."""

    settings: Settings
    cache_folder: Path
    counter: Counter = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.store = CallStore(self.settings.records_url)
        self.watcher = Watcher()
        self.record_failures = 0

    def session(
        self,
        *,
        llm: Llm | None = None,
        stt: SttEngine | None = None,
        tts: TtsEngine | None = None,
        engines: Engines | None = None,
        responder: Responding | None = None,
        records: Records | None = None,
        observers: Sequence[CallObserver] = (),
        box: Toolbox | None = None,
        opening: str = "",
        keep_recording: bool = True,
        **settings: Any,
    ) -> CallSession:
        """A session; typed unless a recogniser or a voice is given."""
        spoken_call = stt is not None or tts is not None
        if engines is None:
            engines = Engines(stt, tts or HummingTts(self.counter), LoudnessVad()) if spoken_call else None
        engines = engines or Engines(None, None, None)
        box = box or toolbox(self.cache_folder, llm)
        call = CallRecord(
            call_id=new_call_id(),
            started_at=datetime.now(UTC),
            transport="text",
            adapter="keywords/1",
            cache_scope=SCOPE.key,
            engines={**engines.names(), "llm": box.llm.info.name},
        )
        recording = self.settings.home / "recordings" / f"{call.call_id}.wav"
        return CallSession(
            responder or Responder(box, KeywordTagger(), SCOPE, opening),
            engines,
            self.settings.model_copy(update=settings),
            FileClock(self.counter),
            call,
            Journal(
                records or self.store,
                self.settings.home / "unsaved",
                (self.watcher, *observers),
                recording if keep_recording and engines.tts is not None else None,
                self._count_failure,
            ),
        )

    def call(self, lines: Iterable[CallerLine], **options: Any) -> CallRecord:
        """Carry a call through; returns its record as the database has it."""
        record = self.session(**options).run(LinesCaller(lines))
        return self.store.call(record.call_id)

    def typed(self, *lines: str, **options: Any) -> tuple[TurnRecord, ...]:
        """Turns of a typed call, as the database has them."""
        return self.call(typed(*lines), **options).turns

    def _count_failure(self) -> None:
        self.record_failures += 1


def spoken_turns(bank: Bank, told: Sequence[Told], **options: Any) -> tuple[TurnRecord, ...]:
    """Turns of a call in which every line is one second of sound, recognised as told."""
    return bank.call([spoken(1.0) for _ in told], stt=ToldStt(told, bank.counter), **options).turns


def without_times(turn: TurnRecord) -> TurnRecord:
    """A turn without what differs from one run to the next."""
    return replace(turn, call_id="", started_at=datetime.min.replace(tzinfo=UTC), stages={}, tools=())
