"""A real Redis dies while a real call is in progress: the call goes on, nothing happens twice."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from websockets.exceptions import InvalidStatus

from serving.audio import AudioClip
from serving.call.live_background import BackgroundState
from serving.call.machine import Ending
from serving.call.toolbox import Banking
from serving.services.redis_state import RedisLiveState
from serving.services.redis_writes import RedisIdempotencyStore
from serving.settings import Settings
from serving.transports import browser
from tests.serving.call.bank_caller import IDENTITY, done, phrase, responder_of, sandbox_in
from tests.serving.call.phone import HummingTts, loud, toolbox
from tests.serving.sessions.servers import RedisServer
from tests.serving.sessions.states import eventually
from tests.serving.transports.loopback import Browser, served, until
from tests.serving.transports.real_calls import real_calls


class QuickTts(HummingTts):
    """Says each sentence in a tenth of a second."""

    def synthesise(self, text: str) -> Iterator[AudioClip]:
        self.said.append(text)
        yield loud(0.1, self.rate)


class Caller:
    """Types, and plays what comes as a browser does."""

    def __init__(self, line: Browser) -> None:
        self._browser = line
        line.send({"event": "start"})
        self.call_id = self._until("call")["call_id"]
        self._heard()

    def say(self, text: str) -> str:
        """A turn; returns the answer when it was heard to its end."""
        self._browser.send({"event": "text", "text": text})
        return str(self._until("turn")["turn"]["answer"])

    def leave(self) -> None:
        self._browser.send({"event": "text", "text": "bye"})
        self._until("ended")

    def _heard(self) -> None:
        while self._until("state")["phase"] != "listening":
            pass

    def _until(self, name: str) -> dict[str, Any]:
        while True:
            event = self._browser.event()
            if event["event"] == "mark":
                self._browser.send(event)
            if event["event"] == name:
                return event


def test_a_call_goes_on_without_redis_and_changes_nothing_until_it_is_back(
    settings: Settings,
    tmp_path: Path,
    doomed_redis: RedisServer,
    namespace: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(browser, "TEXTS_AT_ONCE", 20)  # this caller types as fast as the bot talks
    sandbox = sandbox_in(tmp_path)
    writes = RedisIdempotencyStore(doomed_redis.url, namespace=namespace)
    box = replace(toolbox(tmp_path / "cache"), banking=Banking.of(sandbox, timeout_s=5.0, writes=writes))
    state = BackgroundState(RedisLiveState(doomed_redis.url, namespace=namespace, ttl_s=3.0))
    monitor = RedisLiveState(doomed_redis.url, namespace=namespace)
    with (
        real_calls(
            settings, (), answering=lambda: responder_of(box), tts=QuickTts(), changed=state.publish
        ) as (open_call, store),
        served(open_call, shared=state) as server,
    ):
        with server.connect() as line:
            caller = Caller(Browser(line))
            for text in ("block my debit card", *IDENTITY):
                caller.say(text)
            assert [call.call_id for call in monitor.calls()] == [caller.call_id]

            doomed_redis.kill()
            assert caller.say("yes") == phrase("bank_write_not_done")
            assert done(sandbox) == [], "without its key nobody knows whether it was done before"
            caller.say("no")
            assert "your" in caller.say("my balance").lower(), "what changes nothing is still told"
            with pytest.raises(InvalidStatus) as refused:
                server.connect()
            assert refused.value.response.status_code == 503

            doomed_redis.start()
            eventually(lambda: [call.call_id for call in monitor.calls()] == [caller.call_id])
            caller.say("block my debit card")
            assert caller.say("yes") == phrase("block_card_done")
            assert done(sandbox) == ["block_card"]
            caller.leave()
        until(lambda: not server.live.busy)
        eventually(lambda: monitor.calls() == ())
        (found,) = store.calls()
        record = store.call(found.call_id)
    monitor.close()
    writes.close()
    assert record.ending is Ending.COMPLETED
    indexes = [turn.index for turn in record.turns]
    assert indexes == sorted(set(indexes))
    assert [tool.begun for turn in record.turns for tool in turn.tools if tool.name == "block_card"] == [
        False,
        True,
    ]
