"""A server whose language model speaks with the champion: records, scopes, and calls that go on."""

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from serving.adapters import promotion
from serving.adapters.kinds import DIALOGUE_NAME
from serving.adapters.registry import AdapterRegistry
from serving.call import runtime as module
from serving.call.runtime import Runtime
from serving.errors import MissingError
from serving.language.encoder import SentenceEncoder
from serving.settings import Settings
from tests.serving.adapters.talk import GREETINGS, bundle, judged, said, talking_base
from tests.serving.call.phone import KeywordTagger, LinesCaller, typed


@pytest.fixture
def installation(settings: Settings, tmp_path: Path) -> Settings:
    """Two dialogue adapters are registered, the first is champion."""
    base = talking_base(tmp_path / "base")
    found = settings.model_copy(
        update={
            "local_llm": base,
            "llm": "local",
            "dialogue_adapter": DIALOGUE_NAME,
            "registry_poll_s": 60.0,
        }
    )
    registry = AdapterRegistry.from_settings(found)
    for number in (1, 2):
        registry.register(DIALOGUE_NAME, bundle(tmp_path / str(number), base, GREETINGS[number]), by="ci")
    judged(registry, 1)
    promotion.promote(registry, DIALOGUE_NAME, 1, by="ann", reason="the first")
    judged(registry, 2)
    return found


@pytest.fixture
def server(
    installation: Settings, encoder: SentenceEncoder, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Runtime]:
    """A typed server with a tagger of the tests."""
    monkeypatch.setattr(module, "load_encoder", lambda _folder: encoder)
    served = SimpleNamespace(tagger=KeywordTagger(), version="keywords/1", identity="keywords")
    live = SimpleNamespace(start=lambda: None, close=lambda: None, current=served)
    monkeypatch.setattr(module.LiveAdapter, "from_settings", lambda *_: live)
    with Runtime(installation, voice=False) as runtime:
        yield runtime


def test_a_call_names_its_adapter_has_a_scope_of_its_own_and_keeps_both(
    server: Runtime, installation: Settings
) -> None:
    first = server.open_call("text")
    registry = AdapterRegistry.from_settings(installation)
    promotion.promote(registry, DIALOGUE_NAME, 2, by="ann", reason="warmer")
    assert server.dialogue.check()  # type: ignore[union-attr]  # the settings name an adapter
    second = server.open_call("text")
    records = [call.run(LinesCaller(typed("bye"))) for call in (first, second)]
    assert [record.engines["llm"] for record in records] == ["local", "local"]
    assert [record.engines["dialogue"] for record in records] == [f"{DIALOGUE_NAME}/1", f"{DIALOGUE_NAME}/2"]
    assert records[0].cache_scope != records[1].cache_scope
    assert records[1].cache_scope == server.scope(server.adapter.current).key
    assert server.records.call(records[0].call_id).engines == records[0].engines
    assert said(server.dialogue.current.llm) == GREETINGS[2]
    assert said(server.box.llm) == GREETINGS[0]


def test_a_server_that_names_no_adapter_has_the_scope_that_it_always_had(
    installation: Settings, server: Runtime
) -> None:
    plain = Runtime(installation.model_copy(update={"dialogue_adapter": ""}), voice=False)
    assert plain.scope(server.adapter.current).dialogue_adapter == "none"
    record = plain.open_call("text").run(LinesCaller(typed("bye")))
    assert "dialogue" not in record.engines
    plain.close()


def test_a_server_does_not_start_without_the_adapter_that_it_names(
    installation: Settings, server: Runtime
) -> None:
    other = Runtime(installation.model_copy(update={"dialogue_adapter": "no-such-lora"}), voice=False)
    with pytest.raises(MissingError):
        other.start()
    other.close()
