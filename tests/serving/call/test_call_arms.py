"""What a call of an arm leaves: its label everywhere, and its outcome for the guardrail."""

import threading
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest

from serving.arms.guardrail import Guard, Harm, Tally, harmful
from serving.arms.sequential import Counts
from serving.arms.split import Arm, Share, Split
from serving.call import arm_guard
from serving.call.arm_guard import CallArms
from serving.call.arms import InArm, outcome_of, thought_s
from serving.call.live_news import LiveNews
from serving.call.live_state import LiveSnapshot, snapshot_of
from serving.call.machine import Ending, TurnState
from serving.call.record import CallRecord, Decision, TurnRecord
from serving.call.split_tally import SplitTally
from serving.call.store import CallStore
from serving.plain import plain
from serving.telemetry.metrics import TurnMetrics
from tests.serving.sessions.records import call, turn
from tests.serving.telemetry.records import a_call, a_turn

BEGAN = datetime(2026, 11, 21, 12, tzinfo=UTC)
GUARD = Guard(slow_s=1.0)
SPLIT = Split("0123456789ab", "k/1", "k/2", (Share(BEGAN, 50),), by="ann", why="why", guard=GUARD)


def a_good_turn(**changes: object) -> TurnRecord:
    plain = replace(turn("a", 1), stages={"end_of_turn": 9.0, "stt": 9.0, "llm": 0.5, "tts": 9.0})
    return replace(plain, **changes)  # type: ignore[arg-type]  # fields by name


def an_ended(*turns: TurnRecord, **changes: object) -> CallRecord:
    found = replace(call("a", 0), ending=Ending.COMPLETED, turns=turns)
    return replace(found, **changes)  # type: ignore[arg-type]  # fields by name


def harms(*turns: TurnRecord, **changes: object) -> frozenset[Harm]:
    outcome = outcome_of(an_ended(*turns, **changes), GUARD)
    assert outcome is not None
    return outcome.harms


@pytest.mark.parametrize(
    "changes",
    [{"error": "llm: EngineError"}, {"decision": Decision.APOLOGY}, {"decision": Decision.REPROMPT},
     {"decision": Decision.OUT_OF_SCOPE}, {"in_scope": False}],
)  # fmt: skip
def test_a_call_with_one_turn_that_helped_nobody_has_failed_and_its_transfer_is_after_a_failure(
    changes: dict[str, object],
) -> None:
    bad = a_good_turn(**changes)
    assert harms(a_good_turn(), bad, a_good_turn()) == {Harm.FAILED}
    assert harms(a_good_turn(), bad, ending=Ending.TRANSFERRED) == {Harm.FAILED, Harm.TRANSFERRED}


def test_a_transfer_that_a_caller_asked_for_is_no_harm_and_one_of_words_not_understood_is() -> None:
    asked = a_good_turn(decision=Decision.TRANSFER, intent="agent")
    lost = a_good_turn(decision=Decision.TRANSFER, intent="")
    assert harms(a_good_turn(), asked, ending=Ending.TRANSFERRED) == frozenset()
    assert harms(lost, ending=Ending.CALLER_LEFT) == {Harm.FAILED, Harm.TRANSFERRED}


def test_slow_is_what_is_thought_about_and_not_what_is_heard_or_said() -> None:
    assert thought_s(a_good_turn()) == 0.5
    assert harms(a_good_turn()) == frozenset()
    slow = a_good_turn(stages={"stt": 0.1, "intent": 0.6, "llm": 0.6})
    assert harms(a_good_turn(), slow) == {Harm.SLOW}
    assert thought_s(a_good_turn(stages={"llm": float("nan")})) == 0.0


@pytest.mark.parametrize(
    "silent", [an_ended(), an_ended(a_good_turn(), ending=Ending.LOST), an_ended(a_good_turn(), ending=None)]
)
def test_a_call_without_words_or_without_an_end_says_nothing(silent: CallRecord) -> None:
    assert outcome_of(silent, GUARD) is None


def test_metrics_carry_the_arm_of_the_call() -> None:
    metrics = TurnMetrics()
    InArm(metrics, Arm.CHALLENGER).turn_committed(a_turn())
    InArm(metrics, Arm.CHALLENGER).call_ended(a_call())
    InArm(metrics, Arm.CHAMPION).turn_committed(a_turn())
    shown = metrics.exposition().decode()
    assert 'voicebot_turns_total{adapter="banking-lora/3",arm="challenger"' in shown
    assert 'voicebot_calls_total{adapter="banking-lora/3",arm="challenger"' in shown
    assert shown.count('voicebot_turns_total{adapter="banking-lora/3",arm="champion"') == 1


def test_the_live_state_of_a_call_tells_its_arm() -> None:
    seen: list[LiveSnapshot] = []
    book = SimpleNamespace(call=replace(call("a", 0), arm=Arm.CHALLENGER.value, split=SPLIT.id), turns=())
    line = SimpleNamespace(tell=lambda _event, _facts: None)
    LiveNews(book, line, seen.append).state(TurnState(), "began")  # type: ignore[arg-type]  # as much as it needs
    assert [snapshot.arm for snapshot in seen] == ["challenger"]
    assert snapshot_of(plain(seen[0])) == seen[0]


@pytest.fixture
def records(tmp_path: Path) -> CallStore:
    return CallStore(f"sqlite:///{tmp_path / 'calls.db'}")


def saved(records: CallStore, number: int, *, caller: str = "", after_s: float = 0.0) -> CallRecord:
    name = f"{number:032d}"
    bad = a_good_turn(call_id=name, decision=Decision.APOLOGY)
    record = replace(
        call(name, 0), started_at=BEGAN, ended_at=BEGAN + timedelta(seconds=after_s), turns=(bad,),
        arm=Arm.CHALLENGER if number % 2 else Arm.CHAMPION, split=SPLIT.id, caller_key=caller or name,
    )  # fmt: skip
    records.save(record)
    return record


def trials(tally: SplitTally) -> tuple[int, int]:
    both = tally.tally.champion, tally.tally.challenger
    return tuple(arm[Harm.FAILED].trials if arm else 0 for arm in both)  # type: ignore[return-value]


def test_the_label_comes_back_from_the_database_as_it_went_in(records: CallStore) -> None:
    record = saved(records, 1)
    assert records.call(record.call_id) == record
    unlabelled = call("b")
    records.save(unlabelled)
    found = records.call("b")
    assert (found.arm, found.split, found.caller_key) == ("champion", "", "")


def test_each_look_counts_what_ended_since_and_nothing_twice(records: CallStore) -> None:
    tally = SplitTally(SPLIT, records)
    assert tally.update() is False
    for number in range(6):
        saved(records, number, after_s=number)
    assert tally.update() is True
    assert trials(tally) == (3, 3)
    assert tally.update() is False
    saved(records, 6, after_s=2.5)  # its record comes late, behind calls that ended after it
    saved(records, 7, after_s=5_000)
    tally.update()
    assert trials(tally) == (4, 4)
    saved(records, 8, after_s=5_001)
    tally.update()
    tally.update()
    assert trials(tally) == (5, 4)


def test_a_server_that_starts_later_comes_to_the_same_counts(records: CallStore) -> None:
    early = SplitTally(SPLIT, records)
    for number in range(30):
        saved(records, number, after_s=number * 600.0)
        early.update()
    late = SplitTally(SPLIT, records)
    late.update()
    assert late.tally == early.tally
    assert trials(late) == (15, 15)


def test_a_server_whose_clock_is_ahead_does_not_hide_the_calls_of_the_others(records: CallStore) -> None:
    tally, days_ahead = SplitTally(SPLIT, records), (datetime.now(UTC) - BEGAN).total_seconds() + 2 * 86_400
    saved(records, 1, after_s=days_ahead)
    tally.update()
    for number in range(2, 12):
        saved(records, number, after_s=days_ahead - 2 * 86_400 + number)
    tally.update()
    assert trials(tally) == (5, 6)


def under_two_shares(records: CallStore, *, later: dict[Arm, Decision]) -> SplitTally:
    """45 good calls of the champion and 5 of the challenger; then, at a larger share, 15 and 40 others."""
    grown = SPLIT.altered(80, BEGAN + timedelta(days=7))
    for share, sizes in zip(grown.shares, ((45, 5), (15, 40)), strict=True):
        for arm, size in zip(Arm, sizes, strict=True):
            for number in range(size):
                name = f"{share.percent}{arm.value}{number}"
                decision = later[arm] if share is grown.shares[1] else Decision.ANSWER
                record = replace(
                    call(name, 0), started_at=share.since + timedelta(hours=1), arm=arm.value, split=SPLIT.id,
                    ended_at=share.since + timedelta(hours=1, seconds=number), caller_key=name,
                    turns=(a_good_turn(call_id=name, decision=decision),),
                )  # fmt: skip
                records.save(record)
    tally = SplitTally(grown, records)
    tally.update()
    return tally


def test_a_bad_week_after_the_share_grew_is_not_taken_for_the_challengers_harm(records: CallStore) -> None:
    tally = under_two_shares(records, later=dict.fromkeys(Arm, Decision.APOLOGY))
    assert trials(tally) == (15, 40)
    assert not tally.harmful()
    assert not any(finding.broken for finding in tally.findings())
    failed = {Harm.FAILED: Counts(15, 60)}, {Harm.FAILED: Counts(40, 45)}
    assert harmful(Tally(*failed), GUARD)  # what adding up the shares would have said


def test_harm_under_the_newest_share_is_found_and_shown_alone(records: CallStore) -> None:
    later = {Arm.CHAMPION: Decision.ANSWER, Arm.CHALLENGER: Decision.APOLOGY}
    tally = under_two_shares(records, later=later)
    assert tally.harmful()
    found = next(finding for finding in tally.findings() if finding.broken and finding.harm is Harm.FAILED)
    assert (found.challenger, found.champion) == (Counts(40, 40), Counts(0, 15))


def test_harm_under_an_earlier_share_is_shown_where_the_newest_has_none(records: CallStore) -> None:
    late = SPLIT.altered(80, BEGAN + timedelta(days=7)).altered(90, BEGAN + timedelta(days=30))
    under_two_shares(records, later={Arm.CHAMPION: Decision.ANSWER, Arm.CHALLENGER: Decision.APOLOGY})
    tally = SplitTally(late, records)
    tally.update()
    assert trials(tally) == (0, 0)
    assert tally.harmful()
    assert any(finding.broken for finding in tally.findings())


def test_a_caller_counts_once_however_often_the_call_is_repeated(records: CallStore) -> None:
    for number in range(1, 20, 2):
        saved(records, number, caller="the same", after_s=number)
    tally = SplitTally(SPLIT, records)
    tally.update()
    assert trials(tally) == (0, 1)


def test_a_lost_call_hides_no_later_call_of_its_caller_from_a_server_that_starts_anew(
    records: CallStore,
) -> None:
    early = SplitTally(SPLIT, records)
    later = saved(records, 1, caller="the same", after_s=20_000)
    early.update()
    turn_of_lost = a_good_turn(call_id="z" * 32)
    records.save(
        replace(later, call_id="z" * 32, ended_at=BEGAN, ending=Ending.LOST, turns=(turn_of_lost,))
    )  # ended as lost long after its last turn
    early.update()
    late = SplitTally(SPLIT, records)
    late.update()
    assert trials(early) == trials(late) == (0, 1)


def test_calls_of_another_split_and_calls_in_progress_are_not_counted(records: CallStore) -> None:
    records.save(replace(saved(records, 1), call_id="x" * 32, split="another", turns=()))
    records.begin(replace(call("y" * 32, 0), split=SPLIT.id, ended_at=None, ending=None))
    tally = SplitTally(SPLIT, records)
    tally.update()
    assert trials(tally) == (0, 1)


def test_a_split_that_cannot_be_followed_for_whatever_reason_is_guarded_all_the_same() -> None:
    looks: list[str] = []

    def broken() -> None:
        raise RuntimeError("a bug in a library")

    arms = SimpleNamespace(check=broken)
    guard = SimpleNamespace(look=lambda: looks.append("looked"))
    followed = CallArms(arms, guard, poll_s=60.0)  # type: ignore[arg-type]  # as much as it needs
    followed.start()
    followed.close()
    assert looks == ["looked"]


def test_a_look_that_hangs_in_the_database_does_not_hold_up_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arm_guard, "_LAST_ROUND_S", 0.05)
    looks, hangs, answers = iter((False, True)), threading.Event(), threading.Event()

    def look() -> None:
        if next(looks, False):
            hangs.set()
            answers.wait(20.0)

    arms = SimpleNamespace(check=lambda: None)
    followed = CallArms(arms, SimpleNamespace(look=look), poll_s=0.01)  # type: ignore[arg-type]  # enough
    followed.start()
    assert hangs.wait(20.0)
    began = time.monotonic()
    followed.close()
    answers.set()
    assert time.monotonic() - began < 5.0
