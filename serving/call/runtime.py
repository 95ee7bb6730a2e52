"""A server's parts, put together once: settings to knowledge, engines, adapter, cache, tools, records.

This is the only place that knows all of them. Opening a runtime loads models; calls that it opens afterwards
share them, and each keeps the arm, the adapter and the cache scope that it began with.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Self

from loguru import logger

from serving.adapters.fit import needed_by_server
from serving.adapters.live import LiveAdapter, ServedAdapter
from serving.adapters.live_dialogue import ServedDialogue, live_dialogue
from serving.adapters.signature import require_signed_dialogue
from serving.arms.assignment import caller_key
from serving.cache.signature import RULES, Signer
from serving.cache.types import CacheScope
from serving.call.arm_guard import CallArms
from serving.call.arms import InArm
from serving.call.book import CallBook
from serving.call.cache_watch import watch_cache
from serving.call.caching import open_asked_cache
from serving.call.clock import Clock, FileClock
from serving.call.ears import Ears
from serving.call.faults import fault
from serving.call.filing import save_set_aside
from serving.call.line import Line
from serving.call.live import LiveCall
from serving.call.live_parts import Parts, turn_policy
from serving.call.live_state import LiveSnapshot
from serving.call.patience import Patience, llm_limit_s
from serving.call.ports import CallObserver, Engines, Journal
from serving.call.record import CallRecord
from serving.call.recording import Recording
from serving.call.responder import Responder
from serving.call.scheduler import Scheduler
from serving.call.scope import ScopeParts, scope_for
from serving.call.session import CallSession, new_call_id
from serving.call.store import CallStore
from serving.call.toolbox import Banking, Toolbox, check_phrases
from serving.call.turn_taking import load_turn_taking
from serving.call.wordings import Wordings
from serving.errors import InvalidInputError
from serving.language.choice import choose_llm
from serving.language.embedded import EmbeddedResponder
from serving.language.encoder import SentenceEncoder, load_encoder, use_one_thread
from serving.language.encoder_backend import with_backend
from serving.language.injection import load_injection_guard
from serving.language.knowledge import load_knowledge
from serving.language.lexicon import load_lexicon
from serving.language.protocols import Closing
from serving.settings import Settings
from serving.speech.engines import choose_stt, choose_tts
from serving.speech.spare_vads import SpareVads
from serving.speech.speech_cache import SpeechCache
from serving.speech.vad import EndpointSettings, SileroVad
from serving.spoken.values import Kind
from serving.telemetry.metrics import TurnMetrics
from serving.telemetry.redaction import keyed_hash, load_pii_key
from serving.telemetry.traces import open_traces
from serving.tools.bank import bank_tools
from serving.tools.bank_choice import open_bank
from serving.tools.compliance import load_compliance
from serving.tools.executor import IdempotencyStore, ToolExecutor
from serving.tools.rates import load_rates

LOST_AFTER = timedelta(hours=1)
"""An open call without a turn for this long belongs to a process that was killed: a server ends calls that
were left after ten minutes, and a file of the longest sound is heard in less."""


@dataclass(frozen=True, slots=True)
class Choice:
    """An engine that was chosen at start, and why."""

    role: str
    name: str
    model: str
    reason: str


class Runtime:
    """All that a server keeps between calls. Use it as a context manager.

    Args:
        settings: the installation.
        voice: whether calls are spoken; without it no speech engine is loaded.
        today: the bank's day, for rates and wordings; default: the date in its time zone.
        writes: where idempotency keys are kept; default: in this process.

    Raises:
        VoicebotError: a part cannot be had; the message says what to do.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        voice: bool,
        today: Callable[[], date] | None = None,
        writes: IdempotencyStore | None = None,
    ) -> None:
        use_one_thread()
        today = today or settings.today
        self.settings = settings
        self.metrics = TurnMetrics()
        self.traces = open_traces(settings.otlp_endpoint)
        self.encoder: SentenceEncoder = with_backend(load_encoder(settings.encoder), settings)
        self._key = load_pii_key(settings)
        self.knowledge = load_knowledge(settings.data / "knowledge" / "answers.yaml")
        check_phrases(self.knowledge)
        rates = load_rates(settings.data / "knowledge" / "rates.yaml")
        texts = load_compliance(settings.data / "compliance")
        lexicon = load_lexicon(settings.data / "lexicons" / "signature.yaml")
        guard = load_injection_guard(settings.data / "lexicons" / "injection.yaml")
        embedded = EmbeddedResponder(self.knowledge.prompts, settings.currency)
        require_signed_dialogue(settings)
        llm = choose_llm(settings, lambda: embedded)
        self.signer = Signer(
            lexicon, lambda kind, value: keyed_hash(kind, value, self._key), settings.currency
        )
        cache = self.cache = open_asked_cache(settings, self.encoder, lexicon, guard)
        self._shadow = watch_cache(settings, cache, self.metrics.cache, self.signer, self.encoder, self._key)
        tools = bank_tools(
            rates, texts, bank_name=settings.bank_name, jurisdiction=settings.jurisdiction, today=today
        )
        self.executor = ToolExecutor(tools, timeout_s=settings.tool_timeout_s, writes=writes)
        self._bank = bank = open_bank(settings, today)
        banking = Banking.of(bank, timeout_s=settings.tool_timeout_s, writes=writes) if bank else None
        self.records = CallStore(settings.records_url)
        self.scope_parts = ScopeParts(
            settings.tenant,
            settings.locale,
            (self.knowledge.sha256, rates.sha256, texts.sha256, lexicon.sha256, RULES),
            settings.bank_name,
            llm.engine.info,
            self.encoder.fingerprint,
        )
        self.box = Toolbox(
            knowledge=self.knowledge,
            signer=self.signer,
            cache=self.cache,
            llm=llm.engine,
            fallback=embedded,
            executor=self.executor,
            notice_flows={text.id: text.flow_type.value for text in texts.texts},
            confirm_below=settings.confirm_below,
            today=today,
            currency=settings.currency,
            bank_name=settings.bank_name,
            greeting=self.knowledge.prompt("greeting").format(bank_name=settings.bank_name),
            patience=Patience(llm_limit_s(settings, llm.engine.info)),
            banking=banking,
            guard=guard,
            shadow=self._shadow,
        )
        self._wordings = Wordings(texts, settings, today)
        self._wordings.check(self.knowledge, voice=voice)
        self.choices = [Choice("llm", llm.engine.info.name, llm.engine.info.model, llm.reason)]
        self.engines = self._speech(settings) if voice else Engines(None, None, None)
        self.kept = SpeechCache(self.engines.tts) if self.engines.tts is not None else None
        self._vads = SpareVads()
        self.turn_taking = load_turn_taking(settings.data / "lexicons" / "turn_taking.yaml")
        needed = needed_by_server(self.knowledge, settings.data / "intents")
        self.adapter = LiveAdapter.from_settings(settings, self.encoder, needed)
        self.dialogue = live_dialogue(settings, llm.engine)
        self.arms = CallArms.from_settings(
            settings, self.adapter, self.encoder, self.records, lambda it: self.cache.warm(self.scope(it))
        )

    def _speech(self, settings: Settings) -> Engines:
        stt, tts = choose_stt(settings), choose_tts(settings)
        self.choices += [
            Choice("stt", stt.engine.info.name, stt.engine.info.model, stt.reason),
            Choice("tts", tts.engine.info.name, tts.engine.info.model, tts.reason),
        ]
        return Engines(stt.engine, tts.engine, SileroVad())

    def start(self) -> Self:
        """Load the adapters that shall serve and warm everything that a first turn would wait for.

        Records that an earlier server could not save are saved now, and calls that it left open are ended.
        A cache that cannot be opened is no reason not to answer: its lookups are misses.

        Raises:
            MissingError: there is no adapter at all.
        """
        self.adapter.start()
        self.dialogue.start()
        if not self.cache.warm(self.scope(self.adapter.current)):
            logger.warning(
                "the cache holds nothing for {}, so it answers nothing: run `voicebot build-cache`",
                self.adapter.current.version,
            )
        self.adapter.current.tagger.tag("warm up")
        self.arms.start()
        self.save_set_aside()
        self.end_lost_calls()
        return self

    def expect(self, calls: int) -> None:
        """Get ready for so many live calls at a time; returns at once."""
        if self.engines.stt is not None:
            self._vads.keep(calls)

    @property
    def hung_tools(self) -> int:
        """Tools that took too long and still occupy a thread."""
        banking = self.box.banking
        return self.executor.hung + (banking.executor.hung if banking is not None else 0)

    def close(self) -> None:
        """Stop watching for promotions, let running writes finish, close connections; what hangs is left."""
        self._vads.close()
        self._shadow.close()
        self.cache.close()
        self.arms.close()
        self.adapter.close()
        self.dialogue.close()
        self.executor.close()
        if self.box.banking is not None:
            self.box.banking.executor.close()
        if self._bank is not None:
            self._bank.close()
        if isinstance(self.box.llm, Closing):
            self.box.llm.close()
        self.records.close()
        self.traces.close()

    def save_set_aside(self) -> int:
        """Save the calls whose records the database had refused; returns how many."""
        return save_set_aside(self._aside, self.records)

    def end_lost_calls(self) -> None:
        """End the calls of processes that were killed; what the database refuses now stays for later."""
        try:
            lost = self.records.end_lost(silent_since=datetime.now(UTC) - LOST_AFTER)
        except Exception as error:  # no reason not to serve
            logger.warning("calls that were left open stay so: {}", fault("records", error))
            return
        if lost:
            logger.warning("{} calls that a killed process left open are ended as lost", lost)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_error: object) -> None:
        self.close()

    def scope(self, served: ServedAdapter, spoken: ServedDialogue | None = None) -> CacheScope:
        """The cache scope of calls that use an adapter, and the model as it speaks (default: now)."""
        return scope_for(self.scope_parts, served.identity, (spoken or self.dialogue.current).identity)

    def open_call(
        self,
        transport: str,
        *,
        script: str = "",
        caller_id: str = "",
        observers: tuple[CallObserver, ...] = (),
        clock: Clock | None = None,
        typed: bool = False,
        engines: Engines | None = None,
    ) -> CallSession:
        """A session for a new call, with the adapter that serves at this moment.

        Args:
            transport: how the caller reaches us.
            script: id of the call script, for scripted calls.
            caller_id: the caller's number or customer id; only its keyed hash is stored.
            observers: who watches besides the metrics.
            clock: the call's time; default: a file clock that starts now.
            typed: no speech engine takes part, even where there are some.
            engines: other ones than the runtime's.
        """
        engines = Engines(None, None, None) if typed else engines or self.engines
        call, responder, journal = self._opened(transport, engines, caller_id, script, observers)
        return CallSession(
            responder, engines, self.settings, clock or FileClock(time.perf_counter), call, journal
        )

    def open_live(
        self,
        line: Line,
        scheduler: Scheduler,
        *,
        call_id: str = "",
        caller_id: str = "",
        observers: tuple[CallObserver, ...] = (),
        changed: Callable[[LiveSnapshot], None] = lambda _snapshot: None,
        closed: Callable[[CallRecord], None] = lambda _call: None,
    ) -> LiveCall:
        """A live call on a line, with the adapter that serves at this moment; `start` greets the caller.

        Args:
            line: where the caller is.
            scheduler: the call's time and hands.
            call_id: under which a slot was taken; default: a new one.
            caller_id: the caller's number or customer id; only its keyed hash is stored.
            observers: who watches besides the metrics.
            changed: told of each change of the call's state.
            closed: told once, when the call is over and on record.

        Raises:
            InvalidInputError: the runtime was opened without a voice.
        """
        ears, tts = self.ears(), self.engines.tts
        assert tts is not None
        assert self.kept is not None
        call, responder, journal = self._opened(
            line.transport, self.engines, caller_id, "", observers, call_id, live=True
        )
        policy = turn_policy(self.settings, self.turn_taking, opening=responder.opening)
        parts = Parts(ears, tts, self.kept, policy, changed, closed, self.settings.longest_call_s)
        book = CallBook(call, journal, self.settings.max_turn_chars)
        recording = Recording(wanted=journal.recording is not None)
        return LiveCall(responder, parts, book, recording, line, scheduler)

    def ears(self) -> Ears:
        """Ears for one call.

        Raises:
            InvalidInputError: the runtime was opened without a voice.
        """
        if self.engines.stt is None:
            raise InvalidInputError("This server was started without speech engines.")
        limits = EndpointSettings(
            threshold=self.settings.vad_threshold, hang_over_s=self.settings.end_of_turn_silence_s
        )
        return Ears(
            self.engines.stt, self._vads.take(), limits, self.turn_taking, self.settings.max_utterance_s
        )

    def _opened(
        self,
        transport: str,
        engines: Engines,
        caller_id: str,
        script: str,
        observers: tuple[CallObserver, ...],
        call_id: str = "",
        *,
        live: bool = False,
    ) -> tuple[CallRecord, Responder, Journal]:
        """The record, responder and journal of a new call; its arm is drawn here, once."""
        call_id, caller = call_id or new_call_id(), _plain(caller_id)
        placed = self.arms.place(lambda: caller_key(caller, call_id, self._key))
        served, spoken = placed.served, self.dialogue.current
        scope = self.scope(served, spoken)
        voice = engines.tts is not None
        call = CallRecord(
            call_id=call_id,
            started_at=datetime.now(UTC),
            transport=transport,
            adapter=served.version,
            cache_scope=scope.key,
            engines={**engines.names(), **spoken.names()},
            script=script,
            caller=keyed_hash(Kind.ACCOUNT, caller, self._key) if caller else "",
            arm=placed.arm,
            split=placed.split,
            caller_key=placed.caller_key,
        )
        recording = self._recording_path(call) if voice and self.settings.keep_recordings else None
        labelled = (InArm(self.metrics, call.arm), InArm(self.traces, call.arm))
        watching: tuple[CallObserver, ...] = (*labelled, *observers)
        failed = self.metrics.record_failures.inc
        return (
            call,
            Responder(
                replace(self.box, llm=spoken.llm),
                served.tagger,
                scope,
                self.opening(voice=voice, recorded=bool(recording)),
                ask_survey=live and self.settings.ask_survey,
            ),
            Journal(self.records, self._aside, watching, recording, failed),
        )

    @property
    def _aside(self) -> Path:
        return self.settings.home / "unsaved"

    def _recording_path(self, call: CallRecord) -> Path:
        day = call.started_at.strftime("%Y-%m-%d")
        return self.settings.home / "recordings" / day / f"{call.call_id}.wav"

    def opening(self, *, voice: bool, recorded: bool) -> str:
        """What the law wants said before anything else (data/compliance/README.md)."""
        return self._wordings.opening(voice=voice, recorded=recorded)


def _plain(caller_id: str) -> str:
    """One way of writing a number: spaces, dashes and a plus are not part of it."""
    return "".join(char for char in caller_id if char.isalnum()).casefold()
