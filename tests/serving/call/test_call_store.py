"""The database of calls: addresses that are none, and calls that nobody ended."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from serving.call.machine import Ending
from serving.call.record import CallRecord
from serving.call.store import CallStore
from serving.errors import InvalidInputError, UnavailableError
from tests.serving.call.phone import Bank, typed

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://a:s3cret@127.0.0.1:xx/x", "postgresql://a:s3cret@127.0.0.1:99999999999999999999/x",
        "s3cret", "", "://s3cret", "nodriver://a:s3cret@h/x", "sqlite:///x?timeout=s3cret",
        "postgresql+nodriver://a:s3cret@h/x",
    ],
)  # fmt: skip
def test_an_address_that_is_none_is_refused_without_its_secret(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises((InvalidInputError, UnavailableError)) as caught:
        CallStore(url)
    assert "VOICEBOT_DATABASE_URL" in caught.value.advice
    error: BaseException | None = caught.value
    while error is not None:
        assert "s3cret" not in str(error)
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)


def test_a_port_that_is_no_number_is_bad_input() -> None:
    with pytest.raises(InvalidInputError, match="cannot be read"):
        CallStore("postgresql://a:secret@127.0.0.1:xx/x")


# Calls left open


def left_open(bank: Bank, call_id: str, *turns_after: timedelta, began: datetime) -> CallRecord:
    """A call whose process was killed: it began, had turns, and nothing more."""
    done = bank.call(typed(*["hello"] * len(turns_after)))
    open_ = replace(
        done,
        call_id=call_id,
        started_at=began,
        ended_at=None,
        ending=None,
        duration_s=0.0,
        talk_s=0.0,
        turns=(),
    )
    bank.store.begin(open_)
    for turn, after in zip(done.turns, turns_after, strict=True):
        bank.store.add_turn(replace(turn, call_id=call_id, started_at=began + after))
    return bank.store.call(call_id)


def test_a_call_without_a_turn_for_long_is_ended_with_the_last_that_is_known_of_it(bank: Bank) -> None:
    began = NOW - 3 * HOUR
    silent = left_open(bank, "a", timedelta(minutes=1), timedelta(minutes=5), began=began)
    never_spoke = left_open(bank, "b", began=began)
    assert bank.store.end_lost(silent_since=NOW - HOUR) == 2
    assert bank.store.call("a") == replace(
        silent, ended_at=began + timedelta(minutes=5), ending=Ending.LOST, duration_s=300.0
    )
    assert bank.store.call("b") == replace(never_spoke, ended_at=began, ending=Ending.LOST, duration_s=0.0)
    assert bank.store.end_lost(silent_since=NOW - HOUR) == 0


def test_calls_that_go_on_and_calls_that_ended_are_left_alone(bank: Bank) -> None:
    ended = bank.call(typed("bye"))
    talking = left_open(
        bank, "a", timedelta(minutes=1), 3 * HOUR - timedelta(minutes=2), began=NOW - 3 * HOUR
    )
    young = left_open(bank, "b", began=NOW - timedelta(minutes=10))
    assert bank.store.end_lost(silent_since=NOW - HOUR) == 0
    assert bank.store.end_lost(silent_since=datetime.now(UTC) + HOUR) == 2, "the ended one is none of them"
    assert bank.store.call(ended.call_id) == ended
    assert talking.ended_at is None
    assert young.ended_at is None


def test_a_call_that_was_thought_lost_ends_as_it_really_ends(bank: Bank) -> None:
    began = NOW - 3 * HOUR
    found = left_open(bank, "a", timedelta(minutes=1), began=began)
    bank.store.end_lost(silent_since=NOW)
    bank.store.end(replace(found, ended_at=NOW, ending=Ending.COMPLETED, duration_s=3 * 3600.0))
    assert bank.store.call("a").ending is Ending.COMPLETED
