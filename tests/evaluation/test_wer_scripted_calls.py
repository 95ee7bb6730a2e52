"""Recorded calls beside their scripts: what is compared with what, what is counted, and what is resampled."""

from collections.abc import Sequence
from datetime import UTC, datetime

from evaluation.scripted_calls import CUT, NO_SCRIPT, NO_TURN, NOT_REACHED, align
from evaluation.wer import score
from serving.call.record import CallRecord, Decision, TurnRecord
from serving.call.script import CallScript, ScriptTurn

NOW = datetime(2026, 11, 20, tzinfo=UTC)
LINES = ("what is the rate for a personal loan", "my card was stolen on monday", "how do i close my account")


def script(name: str, lines: Sequence[str] = LINES, noisy: int | None = None) -> CallScript:
    turns = tuple(ScriptTurn(line, 10.0 if i == noisy else None) for i, line in enumerate(lines))
    return CallScript(name, name, turns, "resolved")


def call(name: str, heard: Sequence[str], number: int = 0) -> CallRecord:
    call_id = f"{name}-{number}"
    turns = tuple(
        TurnRecord(
            call_id=call_id,
            index=index,
            started_at=NOW,
            text=text,
            stt_engine="pocketsphinx",
            confidence=0.9,
            audio_s=1.0,
            decision=Decision.ANSWER,
            answer="",
            spoken="",
            interrupted=False,
            stages={},
            voice_to_voice_s=None,
            reply_s=0.0,
        )
        for index, text in enumerate(heard, start=1)
    )
    return CallRecord(call_id, NOW, "script", "a/1", "scope", {}, script=name, turns=turns)


def test_a_call_that_ended_early_counts_with_the_lines_it_reached() -> None:
    found = align([call("one", LINES[:2])], {"one": script("one")})
    assert [u.reference for u in found.utterances] == list(LINES[:2])
    assert found.left_out == {NOT_REACHED: 1}
    assert score(found.utterances).wer.estimate == 0.0


def test_a_line_cut_in_two_costs_no_words_of_the_lines_after_it() -> None:
    heard = ["what is the rate", "for a personal loan", *LINES[1:]]
    found = align([call("one", heard)], {"one": script("one")})
    assert score(found.utterances).wer.estimate == 0.0
    assert not found.left_out


def test_a_cut_call_with_noise_cannot_tell_its_clean_lines_and_is_counted() -> None:
    scripts = {"one": script("one", noisy=1)}
    found = align([call("one", [*LINES, "more"])], scripts, clean_only=True)
    assert not found.utterances
    assert found.left_out == {CUT: 1}


def test_only_clean_lines_means_without_the_noisy_ones() -> None:
    found = align([call("one", LINES)], {"one": script("one", noisy=1)}, clean_only=True)
    assert [u.reference for u in found.utterances] == [LINES[0], LINES[2]]


def test_calls_whose_script_is_gone_or_that_heard_nothing_are_counted_and_hide_no_others() -> None:
    calls = [call("gone", LINES), call("one", []), call("one", LINES)]
    found = align(calls, {"one": script("one")})
    assert (found.calls, found.scripts) == (1, 1)
    assert found.left_out == {NO_SCRIPT: 1, NO_TURN: 1}


def test_repeats_of_a_script_are_no_new_evidence() -> None:
    scripts = {"one": script("one"), "two": script("two", ["is there a fee for that", "please say it again"])}
    heard = {"one": ["what was the rate for a loan", *LINES[1:]], "two": ["is there a fee", "please say it"]}
    once = [call(name, lines) for name, lines in heard.items()]
    often = [call(name, lines, number) for number in range(20) for name, lines in heard.items()]
    few, many = (align(calls, scripts) for calls in (once, often))
    assert few.unit == many.unit == "script"
    assert len(many.utterances) == 20 * len(few.utterances)
    first, second = (score(found.utterances, unit=found.unit) for found in (few, many))
    assert (second.wer.low, second.wer.high) == (first.wer.low, first.wer.high)
    assert second.resampled_by == "script"
    assert "by script" in second.summary()


def test_repeats_of_the_only_script_are_drawn_line_by_line() -> None:
    heard = ["what was the rate for a loan", *LINES[1:]]
    calls = [call("one", heard, number) for number in range(20)]
    found = align(calls, {"one": script("one")})
    assert found.unit == "line"
    assert score(found.utterances).calls == 3


def test_personal_values_are_compared_by_their_placeholder() -> None:
    line = "my card number is 4111 1111 1111 1111"
    found = align([call("one", ["my card number is <card>"])], {"one": script("one", [line])})
    assert found.utterances[0].reference == "my card number is <card>"
