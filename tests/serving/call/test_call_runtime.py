"""A server's start: what earlier processes left, a cold cache, and the bank's day."""

from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest
from loguru import logger

from serving.cache.alone import open_cache
from serving.cache.build import build_from_knowledge
from serving.call import runtime as module
from serving.call.machine import Ending
from serving.call.ports import Engines
from serving.call.record import Decision
from serving.call.runtime import LOST_AFTER, Runtime
from serving.errors import EngineError
from serving.language.encoder import SentenceEncoder
from serving.language.mistral_api import MistralLlm
from serving.language.protocols import Closing
from serving.language.vllm_llm import VllmLlm
from serving.settings import Settings, default_data_dir
from tests.serving.cache.worlds import served
from tests.serving.call.phone import Bank, HummingTts, KeywordTagger, LinesCaller, LoudnessVad, ToldStt, typed
from tests.serving.transports.loopback import until


@pytest.fixture
def spoilt_intents(settings: Settings, tmp_path: Path) -> Settings:
    """The installation with the project's data, where one file of intents cannot be read."""
    data = tmp_path / "data"
    (data / "intents").mkdir(parents=True)
    (data / "intents" / "all.yaml").write_text("card_lost: [")
    for path in default_data_dir().iterdir():
        if path.name != "intents":
            (data / path.name).symlink_to(path)
    return settings.model_copy(update={"data_dir": data})


@pytest.fixture
def stopped(
    settings: Settings, encoder: SentenceEncoder, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Runtime]:
    """A typed server with a tagger of the tests; not started."""
    monkeypatch.setattr(module, "load_encoder", lambda _folder: encoder)
    served = SimpleNamespace(tagger=KeywordTagger(), version="keywords/1", identity="keywords")
    live = SimpleNamespace(start=lambda: None, close=lambda: None, current=served)
    monkeypatch.setattr(module.LiveAdapter, "from_settings", lambda *_: live)
    runtime = Runtime(settings, voice=False)
    yield runtime
    runtime.close()


class OpenEngine:
    """An answering engine that holds connections, for all that a stop can see."""

    closed = False

    def close(self) -> None:
        self.closed = True


def test_a_stop_closes_the_connections_of_the_answering_engine(stopped: Runtime) -> None:
    engine = OpenEngine()
    stopped.box = replace(stopped.box, llm=engine)  # type: ignore[arg-type]  # nobody asks it anything
    stopped.close()
    assert engine.closed


@pytest.mark.parametrize("engine", [MistralLlm, VllmLlm])
def test_the_engines_that_hold_connections_can_be_closed(engine: type) -> None:
    assert issubclass(engine, Closing)


@pytest.fixture
def warnings() -> Iterator[list[str]]:
    told: list[str] = []
    sink = logger.add(told.append, level="WARNING", format="{message}")
    yield told
    logger.remove(sink)


def test_a_cache_that_holds_nothing_is_told_with_the_command_that_fills_it(
    stopped: Runtime, warnings: list[str]
) -> None:
    stopped.start()
    assert [line for line in warnings if "voicebot build-cache" in line and "keywords/1" in line]


def test_a_cache_that_was_built_is_not_complained_of(stopped: Runtime, warnings: list[str]) -> None:
    build_from_knowledge(
        stopped.cache.folder, stopped.scope(stopped.adapter.current), stopped.knowledge, stopped.signer,
        stopped.encoder, actor="test", now=datetime.now(UTC),
    )  # fmt: skip
    stopped.start()
    assert warnings == []


def test_a_spoilt_file_of_an_earlier_call_does_not_stop_a_start(stopped: Runtime, settings: Settings) -> None:
    aside = settings.home / "unsaved"
    aside.mkdir(parents=True)
    (aside / "0.json").write_text('{"started_at": 5, "ended_at": null}')
    stopped.start()
    assert [path.name for path in aside.iterdir()] == ["0.unreadable"]


def test_a_spoilt_file_of_intents_does_not_stop_a_start(
    stopped: Runtime, spoilt_intents: Settings, warnings: list[str]
) -> None:
    started = Runtime(spoilt_intents, voice=False)
    started.start()
    started.close()
    assert any("the knowledge alone" in line and "all.yaml" in line for line in warnings)


def test_a_start_ends_the_calls_of_a_process_that_was_killed(
    stopped: Runtime, settings: Settings, cache_folder: Path, warnings: list[str]
) -> None:
    bank = Bank(settings, cache_folder)
    done = bank.call(typed("bye"))
    for name, age in (("old", LOST_AFTER + timedelta(minutes=1)), ("new", LOST_AFTER - timedelta(minutes=1))):
        began = datetime.now(UTC) - age
        bank.store.begin(replace(done, call_id=name, started_at=began, ended_at=None, ending=None, turns=()))
    stopped.start()
    assert bank.store.call("old").ending is Ending.LOST
    assert bank.store.call("new").ending is None
    assert bank.store.call(done.call_id) == done
    assert any("1 calls that a killed process left open" in line for line in warnings)


@pytest.mark.parametrize("error", [EngineError("x"), RuntimeError("x")])
def test_a_database_that_cannot_end_them_stops_nothing(
    stopped: Runtime, monkeypatch: pytest.MonkeyPatch, warnings: list[str], error: Exception
) -> None:
    def refuse(**_options: object) -> int:
        raise error

    monkeypatch.setattr(stopped.records, "end_lost", refuse)
    stopped.start()
    assert any("stay so" in line for line in warnings)


def test_the_banks_day_is_the_date_in_its_time_zone(
    stopped: Runtime, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    zones = ("Pacific/Kiritimati", "Pacific/Pago_Pago")  # 25 hours apart: never the same day
    days = [
        Runtime(settings.model_copy(update={"timezone": zone}), voice=False).box.today() for zone in zones
    ]
    assert days[0] > days[1]


def test_a_day_that_is_given_is_the_banks(stopped: Runtime, settings: Settings) -> None:
    day = date(2026, 11, 20)
    assert Runtime(settings, voice=False, today=lambda: day).box.today() == day


def test_live_calls_hear_with_detectors_that_were_loaded_before_they_began(
    stopped: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    stopped.engines = Engines(ToldStt(("hello",)), HummingTts(), LoudnessVad())
    stopped.expect(6)
    until(lambda: stopped._vads.ready == 6)

    def load() -> None:
        raise AssertionError("this holds up every line")

    monkeypatch.setattr(module, "SileroVad", load)
    monkeypatch.setattr(stopped._vads, "_make", load)
    assert len({id(ears) for ears in [stopped.ears() for _ in range(6)]}) == 6


def test_calls_are_answered_from_a_cache_service_and_go_on_when_it_is_gone(
    stopped: Runtime, settings: Settings, tmp_path: Path
) -> None:
    with closing(open_cache(Settings(home=tmp_path / "service"), embedder=stopped.encoder)) as cache:
        scope = stopped.scope(stopped.adapter.current)
        build_from_knowledge(
            cache.folder, scope, stopped.knowledge, stopped.signer, stopped.encoder,
            actor="test", now=datetime.now(UTC),
        )  # fmt: skip
        with ExitStack() as service:
            url = service.enter_context(served(cache, ""))
            with Runtime(settings.model_copy(update={"cache_url": url}), voice=False) as far:
                assert far.cache.generation() == 1
                assert _decisions(far) == [Decision.CACHE_HIT]
                assert cache.stats().lookups == {"hit:exact": 1}
                assert not (settings.home / "cache").exists()
                service.close()
                assert _decisions(far) == [Decision.ANSWER]


def _decisions(runtime: Runtime) -> list[Decision]:
    session = runtime.open_call("text", typed=True)
    record = session.run(LinesCaller(typed("Can I pay off my loan early?")))
    return [turn.decision for turn in record.turns if turn.intent == "loan_early_repayment"]
