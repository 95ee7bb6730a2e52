"""What our own parts may do wrong in a live call, and that no call gets stuck, lost or told wrong by it."""

from collections.abc import Callable
from typing import Any

import pytest

from serving.call.clock import Laps
from serving.call.dialogue import DialogueState, HeardTurn, Reply
from serving.call.live_state import LiveSnapshot
from serving.call.machine import Ending
from serving.call.record import Decision, TurnRecord
from serving.speech.protocols import Transcript
from tests.serving.live.telephone import Replies, Telephone, TellingStream, TellingStt

LONG = "This is a long answer that goes on for a while. " * 6


def turn(phone: Telephone) -> None:
    phone.wait_for("listening")
    phone.talk(1.0)
    phone.wait_for("speaking")
    phone.wait_for("listening")


class Clinging(TellingStt):
    """Its streams cannot be cancelled."""

    def stream(self) -> TellingStream:
        stream = super().stream()

        def cancel() -> None:
            raise RuntimeError("no")

        stream.cancel = cancel  # type: ignore[method-assign]
        return stream


def test_a_recogniser_that_cannot_let_go_costs_neither_the_words_nor_the_end_of_the_call() -> None:
    phone = Telephone(stt=Clinging(["hello", "and"]))
    turn(phone)
    phone.wait_for("listening")
    phone.talk(0.5)
    phone.hang_up()
    assert phone.book.turns[0].text == "hello"
    assert len(phone.closed) == len(phone.records.ended) == 1


class Wordless(TellingStt):
    """Gives what is no transcript."""

    def stream(self) -> TellingStream:
        stream = super().stream()
        stream.finish = lambda: Transcript(None, 1.0, "told", 1.0)  # type: ignore[method-assign, arg-type]
        return stream


def test_what_is_no_transcript_is_an_apology() -> None:
    phone = Telephone(stt=Wordless(["hello"]))
    turn(phone)
    (record,) = phone.hang_up()
    assert record.decision is Decision.APOLOGY
    assert record.error.startswith("stt: ")


class Speechless(Replies):
    """Has no words for some prompts."""

    def __init__(self, *names: str) -> None:
        super().__init__()
        self._names = names

    def prompt(self, name: str, attempt: int = 0) -> str:
        if name in self._names:
            raise KeyError(name)
        return super().prompt(name, attempt)


def test_a_prompt_that_breaks_gives_the_floor_back() -> None:
    phone = Telephone(["", "hello"], Speechless("greeting", "low_confidence"))
    phone.wait_for("listening")
    phone.talk(1.0)
    phone.wait(3.0)
    turn(phone)
    assert [record.text for record in phone.hang_up()] == ["", "hello"]


def test_a_watcher_that_breaks_changes_nothing() -> None:
    phone = Telephone(["yes"])

    def broken(_snapshot: LiveSnapshot) -> None:
        raise RuntimeError("no screen")

    phone.call._news._changed = broken
    turn(phone)
    assert [record.text for record in phone.hang_up()] == ["yes"]


def slow(words: str) -> Callable[[str], float]:
    """Work of a kind takes six seconds."""
    return lambda kind: 6.0 if kind == words else 0.0


def test_the_next_answer_does_not_wait_for_the_sound_of_the_one_that_was_thrown_away() -> None:
    calls: list[str] = []

    def cost(kind: str) -> float:
        calls.append(kind)
        return 6.0 if kind == "tts" and calls.count("tts") == 3 else 0.0

    replies = Replies({"tell me": "First sentence of it. " + LONG, "stop it now": "I stopped."})
    phone = Telephone(["tell me", "stop it now"], replies, cost=cost)
    phone.wait_for("listening")
    phone.talk(1.0)
    phone.wait_for("speaking")
    phone.wait(0.4)
    assert calls.count("tts") == 3, "the second sentence is being made"
    phone.talk(1.0)
    phone.wait_for("speaking")
    phone.wait_for("listening")
    second = phone.hang_up()[1]
    assert second.voice_to_voice_s is not None
    assert second.voice_to_voice_s < 1.0


def test_what_must_be_heard_is_heard_to_its_end_though_nobody_can_be_heard_any_more() -> None:
    outcome = "Your card ending in one two three four is blocked, and a new one is on its way to you."
    phone = Telephone(["block it"], Replies({"block it": {"answer": outcome, "holds": True}}))
    phone.wait_for("listening")
    phone.talk(1.0)
    phone.wait_for("speaking")
    phone.wait(0.5)
    phone.call._deaf("vad: broken")
    phone.wait_for("ended", 60)
    (record,) = phone.records.turns
    assert record.spoken == outcome
    assert not record.interrupted
    assert record.decision is Decision.ANSWER
    assert "vad" in record.error
    assert phone.closed[0].ending is Ending.TRANSFERRED


def test_words_that_waited_keep_their_times_when_a_noise_follows_them() -> None:
    phone = Telephone(["tell me", "what else", ""], Replies({"tell me": {"answer": LONG, "holds": True}}))
    phone.wait_for("listening")
    phone.talk(1.0)
    phone.wait_for("speaking")
    phone.wait(1.0)
    phone.talk(1.2)
    phone.wait(1.5)
    phone.talk(0.4)
    phone.wait_for("listening", 60)
    second = phone.hang_up()[1]
    assert second.text == "what else"
    assert second.audio_s == pytest.approx(1.2, abs=0.1)
    assert second.started_s is not None


class Wordy(Replies):
    """Says at length that it is at work."""

    def prompt(self, name: str, attempt: int = 0) -> str:
        return LONG if name == "filler" else super().prompt(name, attempt)


def test_the_filler_falls_silent_when_the_caller_talks_and_the_answer_still_comes() -> None:
    phone = Telephone(["what is it", ""], Wordy(), cost=slow("answer"))
    phone.wait_for("listening")
    phone.talk(1.0)
    phone.wait_for("answering")
    phone.wait(2.2)
    assert phone.line.free > phone.time.now(), "the filler is playing"
    phone.talk(0.3)
    assert phone.line.silent_from() <= phone.time.now() - 0.05
    phone.wait_for("speaking", 20)
    phone.wait_for("listening")
    (record,) = phone.hang_up()
    assert (record.spoken, record.interrupted) == ("You said what is it.", False)


def test_a_server_that_cannot_wait_files_the_words_whose_answer_is_still_being_made() -> None:
    phone = Telephone(["block my card"], cost=slow("answer"))
    phone.wait_for("listening")
    phone.talk(1.0)
    phone.wait_for("answering")
    phone.call.gone("the server stops")
    phone.wait(1.0)
    assert not phone.records.turns
    phone.call.abandon("the server stops")
    phone.wait(0.5)
    (record,) = phone.records.turns
    assert (record.text, record.interrupted) == ("block my card", True)
    assert "the server stops" in record.error
    phone.wait(10.0)
    assert len(phone.records.turns) == len(phone.records.ended) == len(phone.closed) == 1


class Streaming(Replies):
    """Marks its last stage when the first sentence has long been heard."""

    laps: Laps

    def answer(self, turn: HeardTurn, state: DialogueState, laps: Laps) -> Reply:
        self.laps = laps
        return super().answer(turn, state, laps)


def test_stage_times_are_those_until_the_first_sound_whatever_the_answer_still_takes() -> None:
    replies = Streaming({"tell me": {"answer": LONG, "stream": [LONG]}})
    phone = Telephone(["tell me"], replies)
    phone.wait_for("listening")
    phone.talk(1.0)
    phone.wait_for("speaking")
    phone.wait(3.0)
    replies.laps.mark("llm")
    phone.wait_for("listening", 60)
    (record,) = phone.hang_up()
    assert record.voice_to_voice_s == pytest.approx(sum(record.stages.values()), abs=1e-9)


def test_an_answer_that_the_call_cannot_take_is_an_apology(monkeypatch: pytest.MonkeyPatch) -> None:
    phone = Telephone(["hello", "again"])
    took, broken = phone.call._turns.took, [True]

    def once(turn: Any, reply: Reply | None) -> bool:
        waited = took(turn, reply)
        if broken:
            broken.clear()
            raise RuntimeError("no room")
        return waited

    monkeypatch.setattr(phone.call._turns, "took", once)
    turn(phone)
    turn(phone)
    records: list[TurnRecord] = phone.hang_up()
    assert [record.decision for record in records] == [Decision.APOLOGY, Decision.ANSWER]


def interrupted_while_answering(replies: Replies | None = None) -> Telephone:
    phone = Telephone(["hello"], replies, cost=slow("answer"))
    phone.wait_for("listening")
    phone.talk(1.0)
    phone.wait_for("answering")
    return phone


def test_a_reply_that_cannot_be_taken_when_the_caller_is_gone_does_not_keep_the_call_open() -> None:
    phone = interrupted_while_answering(Replies({"hello": {"answer": "x", "state": None}}))
    (record,) = phone.hang_up()
    assert record.error.startswith("answer: ")
    assert record.decision is Decision.APOLOGY
    assert len(phone.records.turns) == len(phone.records.ended) == len(phone.closed) == 1


@pytest.mark.parametrize("stopped", [False, True])
def test_neither_does_a_turn_that_cannot_be_finalised(monkeypatch: pytest.MonkeyPatch, stopped: bool) -> None:
    phone = interrupted_while_answering()

    def broken(*_turn: Any, **_facts: Any) -> None:
        raise RuntimeError("no record")

    monkeypatch.setattr(phone.book, "finalise", broken)
    phone.call.gone()
    if stopped:
        phone.call.abandon("the server stops")
    phone.time.run_until(phone.time.now() + 200.0)
    assert len(phone.records.ended) == len(phone.closed) == 1
