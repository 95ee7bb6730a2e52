"""Times and stamps that nobody honest gives, and verdicts that come at once: none gets around another."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest

from serving.cache.admission import entry_id
from serving.cache.belief import believe
from serving.cache.local import LocalCache
from serving.cache.protocol import Feedback, Signal
from serving.cache.store import FILE, CacheStore
from serving.cache.telling import tell
from serving.cache.types import Outcome
from serving.errors import InvalidInputError
from serving.services.cache_news import Content, News, Seal, Standing
from tests.serving.cache.conformance import SetClock
from tests.serving.cache.replicas import OFFER, QUESTIONS
from tests.serving.cache.test_merging import Quiet
from tests.serving.cache.worlds import local
from tests.serving.cache_world import INTENT, NOON, SCOPE, ask, entry, fill

BEFORE_ALL = datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=14)))
AFTER_ALL = datetime(9999, 12, 31, 23, 59, tzinfo=timezone(timedelta(hours=-14)))
"""Times that no calendar has in UTC."""
STAMP = int(datetime.now(UTC).timestamp() * 1e6) * 1000
NEW = entry_id(SCOPE, INTENT, QUESTIONS[1])


@pytest.fixture
def cache(tmp_path: Path) -> Iterator[LocalCache]:
    with local(tmp_path, SetClock()) as made:
        made.create_scope(SCOPE, actor="t")
        yield made


def said(cache: LocalCache, which: str, signal: Signal, origin: str, at: datetime = NOON) -> bool:
    """Whether the entry is in quarantine after somebody said something."""
    return cache.feedback(Feedback(which, signal, at, origin, "anna")).quarantined


@pytest.mark.parametrize("ahead", [timedelta(hours=6), timedelta(days=30_000)])
def test_a_right_by_a_clock_that_is_ahead_settles_no_wrong_that_comes_later(
    cache: LocalCache, ahead: timedelta
) -> None:
    made = cache.insert(OFFER, SCOPE, actor="t").entry
    assert made is not None
    now = cache.reader.clock.now()
    said(cache, made.id, Signal.RIGHT, "person:1", now + ahead)
    assert said(cache, made.id, Signal.WRONG, "person:2", now)
    assert cache.lookup(ask(OFFER.question), SCOPE).outcome is Outcome.MISS


def test_a_time_that_is_none_in_utc_is_bad_input(cache: LocalCache) -> None:
    with pytest.raises(InvalidInputError, match="UTC"):
        cache.insert(replace(OFFER, expires_at=AFTER_ALL), SCOPE, actor="t")
    made = cache.insert(OFFER, SCOPE, actor="t").entry
    assert made is not None
    for at in (BEFORE_ALL, NOON.replace(tzinfo=None)):
        with pytest.raises(InvalidInputError, match=r"UTC|time zone"):
            said(cache, made.id, Signal.SETTLED, "call:1:1", at)


@pytest.mark.parametrize("expires_at", [datetime(2030, 1, 1), AFTER_ALL, BEFORE_ALL])
def test_an_answer_from_elsewhere_with_such_an_expiry_is_passed_over(
    tmp_path: Path, expires_at: datetime
) -> None:
    offer = replace(OFFER, question=QUESTIONS[1], expires_at=expires_at)
    assert heard(Quiet(tmp_path), News(NEW, Content(STAMP, SCOPE, offer))) == {"no_time": 1}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"feedback": Feedback("", Signal.WRONG, BEFORE_ALL, "o", "a")}, "no_time"),
        ({"standing": Standing(STAMP, BEFORE_ALL)}, "no_time"),
        ({"content": Content(-(10**30)), "feedback": Feedback("", Signal.WRONG, NOON, "o", "a")}, "no_stamp"),
        ({"standing": Standing(-(10**30), None)}, "no_stamp"),
    ],
)
def test_no_news_stop_the_merging_of_those_behind_them(
    tmp_path: Path, change: dict[str, object], reason: str
) -> None:
    replica = Quiet(tmp_path)
    (known,) = replica.insert(QUESTIONS[0])
    found = News(known, **change)  # type: ignore[arg-type]  # fields by name
    if found.feedback is not None:
        found = replace(found, feedback=replace(found.feedback, entry_id=known))
    assert heard(replica, found) == {reason: 1}
    heard(replica, News(known, standing=Standing(STAMP + 10**12, datetime.now(UTC))))
    assert replica.quarantines(known)


def heard(replica: Quiet, news: News) -> dict[str, int]:
    """What was refused after a replica read a piece of news as `CacheSharing` does."""
    seal = Seal(b"", "bank")
    read = seal.read(seal.write(news))
    if replica.merger.sound(read):
        replica.hear(*replica.merger.unheard([read]))
    return dict(replica.merger.refused)


@pytest.mark.parametrize("round_", range(4))
def test_of_many_who_tell_at_once_all_count(tmp_path: Path, round_: int) -> None:
    store = fill_one(tmp_path / str(round_))
    (stored,) = store.stored()
    at_once = threading.Barrier(4)

    def say(who: int) -> None:
        at_once.wait()
        tell(store, Feedback(stored.entry.id, Signal.REASKED, NOON, f"call:{who}:1", "t"), now=NOON)

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(say, range(4)))
    told = store.feedback(stored.entry.id)
    found = store.get(stored.entry.id)
    assert found is not None
    assert (len(told), found.entry.accuracy) == (4, believe(stored.entry.id, told, NOON).accuracy)


def test_a_right_that_is_being_weighed_lifts_no_quarantine_over_a_wrong_that_comes_meanwhile(
    tmp_path: Path,
) -> None:
    """Somebody says WRONG between the reading of what was told and the release."""
    store = fill_one(tmp_path)
    (stored,) = store.stored()
    now = datetime.now(UTC)
    tell(store, Feedback(stored.entry.id, Signal.WRONG, now, "person:1", "t"), now=now)

    def step(name: str) -> None:
        if name in {"release: begin", "renew: begin"}:
            wrong = Feedback(stored.entry.id, Signal.WRONG, now + timedelta(seconds=2), "person:3", "t")
            tell(store, wrong, now=now + timedelta(seconds=2))

    right = Feedback(stored.entry.id, Signal.RIGHT, now + timedelta(seconds=1), "person:2", "t")
    tell(CacheStore(tmp_path / FILE, steps=step), right, now=now + timedelta(seconds=1))
    found = store.get(stored.entry.id)
    assert found is not None
    assert found.quarantined_at is not None


def fill_one(folder: Path) -> CacheStore:
    """A store with one entry."""
    fill(folder, [entry()])
    return CacheStore(folder / FILE)
