"""Which recorded turns the drift watch compares."""

from datetime import UTC, datetime

from evaluation.drift_turns import turns_of
from serving.call.record import CallRecord, Decision, TurnRecord

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
VERSION = "banking-lora/3"


def turn(
    index: int, *, decision: Decision = Decision.ANSWER, version: str = VERSION, intent: str = "card_arrival",
    probability: float = 0.9, energy: float | None = None,
) -> TurnRecord:  # fmt: skip
    return TurnRecord(
        call_id="one", index=index, started_at=NOW, text="where is my card", stt_engine="typed",
        confidence=1.0, audio_s=0.0, decision=decision, answer="", spoken="", interrupted=False, stages={},
        voice_to_voice_s=None, reply_s=0.0, intent=intent, intent_probability=probability,
        intent_version=version, intent_energy=energy,
    )  # fmt: skip


def call(*turns: TurnRecord) -> CallRecord:
    return CallRecord("one", NOW, "console", VERSION, "scope", {}, turns=turns)


def test_a_turn_of_the_watched_adapter_is_compared_with_its_call_as_group() -> None:
    (kept,) = turns_of([call(turn(1))], VERSION).turns
    assert (kept.intent, kept.probability, kept.in_scope, kept.group) == ("card_arrival", 0.9, True, "one")


def test_turns_of_another_version_without_intent_or_in_answer_to_a_question_are_counted_and_left_out() -> (
    None
):
    found = turns_of(
        [
            call(
                turn(1, version="banking-lora/2"), turn(2, version="baseline"), turn(3, intent=""),
                turn(4, decision=Decision.CLARIFY), turn(5), turn(6),
            )
        ],
        VERSION,
    )  # fmt: skip
    assert (len(found.turns), found.other_adapter, found.untagged, found.answers) == (2, 2, 1, 1)


def test_a_call_does_not_answer_the_question_of_the_call_before() -> None:
    assert turns_of([call(turn(1, decision=Decision.CLARIFY)), call(turn(1))], VERSION).answers == 0


def test_a_turn_carries_its_energy_where_its_record_has_one() -> None:
    old, new = turns_of([call(turn(1), turn(2, energy=6.5))], VERSION).turns
    assert (old.energy, new.energy) == (None, 6.5)


def test_a_probability_that_was_rounded_over_one_is_one() -> None:
    (kept,) = turns_of([call(turn(1, probability=1.0000001))], VERSION).turns
    assert kept.probability == 1
