"""Which recorded calls are evaluated; old or damaged ones cost the evaluation nothing but a count."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from flows.evaluate_speech import RECENT_CALLS, UNUSABLE, SpeechOutcome, newest_calls, score_calls, score_mos
from serving.audio import AudioClip, write_wav
from serving.call.record import CallRecord
from serving.call.store import CallStore
from serving.settings import Settings
from tests.circle.fixtures import installed_at

START = datetime(2026, 11, 20, tzinfo=UTC)


@pytest.fixture
def installation(tmp_path: Path) -> Iterator[Settings]:
    with installed_at(tmp_path) as settings:
        settings.home.mkdir()
        yield settings


def record(number: int, transport: str, script: str = "", recording: str | None = None) -> CallRecord:
    return CallRecord(
        f"call-{number:04}",
        START + timedelta(minutes=number),
        transport,
        "a/1",
        "scope",
        {},
        script=script,
        recording=recording,
    )


def test_typed_calls_do_not_push_the_scripted_ones_out(installation: Settings) -> None:
    store = CallStore(installation.records_url)
    for number in range(3):
        store.save(record(number, "script", "demo"))
    for number in range(3, 3 + 2 * RECENT_CALLS):
        store.save(record(number, "text"))
    found = newest_calls(installation, lambda call: call.transport == "script")
    assert [call.call_id for call in found] == ["call-0000", "call-0001", "call-0002"]
    typed = newest_calls(installation, lambda call: call.transport == "text")
    assert len(typed) == RECENT_CALLS
    assert typed[-1].call_id == f"call-{2 + 2 * RECENT_CALLS:04}"


def test_a_script_that_was_removed_is_counted_and_ends_nothing(installation: Settings) -> None:
    CallStore(installation.records_url).save(record(0, "script", "renamed_since"))
    figure, left_out = score_calls.fn(clean_only=False)
    assert figure is None
    assert list(left_out.values()) == [1]
    assert "left out: 1 calls" in SpeechOutcome(None, None, None, None, left_out).wer_line


def test_recordings_that_cannot_be_read_are_counted_and_skipped(
    installation: Settings, tmp_path: Path
) -> None:
    store = CallStore(installation.records_url)
    (tmp_path / "corrupt.wav").write_bytes(b"RIFF, but no sound")
    write_wav(tmp_path / "mono.wav", [AudioClip(np.zeros(1_600, np.int16), 16_000)])
    for number, name in enumerate(["corrupt.wav", "gone.wav", "mono.wav"]):
        store.save(record(number, "script", "demo", str(tmp_path / name)))
    assert score_mos.fn(5) == (None, {UNUSABLE: 3})
