"""Replaying a recorded call: the same code decides the same, other code is found out, nothing is touched."""

from dataclasses import replace
from pathlib import Path

import pytest

from serving.call.book import CallBook
from serving.call.ears import Ears
from serving.call.line import Line
from serving.call.live import LiveCall
from serving.call.live_parts import Parts
from serving.call.playout import Recording
from serving.call.ports import Journal
from serving.call.record import CallRecord, Decision, ToolRecord
from serving.call.replay import (
    NoRecords,
    RecordedEars,
    RecordedTools,
    Replayed,
    differences,
    like,
    replay,
)
from serving.call.scheduler import VirtualScheduler
from serving.errors import EngineError, InvalidInputError
from serving.language.protocols import ToolCall
from serving.speech.paced_tts import PacedTts
from serving.speech.speech_cache import SpeechCache
from serving.speech.vad import EndpointSettings
from serving.tools.protocols import ToolContext
from tests.serving.call.phone import HummingTts, LoudnessVad
from tests.serving.live.telephone import (
    HANG_OVER_S,
    POLICY,
    Replies,
    Telephone,
    TellingStt,
    Told,
    turn_taking,
)

LONG = "This is a long answer that goes on for a while. " * 6
CONTEXT = ToolContext(call_id="c", turn=1)


class Today:
    """Today's code: a responder, and a recogniser for calls whose sound was kept."""

    def __init__(self, replies: Replies, told: list[Told] | None = None) -> None:
        self.replies = replies
        self.told = told or []

    def open_replay(
        self, call: CallRecord, line: Line, scheduler: VirtualScheduler, ears: RecordedEars | None
    ) -> LiveCall:
        limits = EndpointSettings(hang_over_s=HANG_OVER_S)
        tts = HummingTts() if ears is None else PacedTts()
        heard = ears or Ears(TellingStt(self.told), LoudnessVad(), limits, turn_taking(), 30.0)
        parts = Parts(heard, tts, SpeechCache(tts), POLICY, lambda _: None, lambda _: None)
        book = CallBook(like(call, "keywords/2", "s"), Journal(NoRecords(), Path("/nowhere")), 2_000)
        return LiveCall(self.replies, parts, book, Recording(wanted=False), line, scheduler)


def a_call(
    told: list[Told], replies: Replies, folder: Path | None = None, *, talk_s: float = 1.0
) -> CallRecord:
    phone = Telephone(told, replies, folder=folder)
    for _ in told:
        phone.wait_for("listening")
        phone.talk(talk_s)
        phone.wait_for("speaking")
        phone.wait_for("listening")
    phone.hang_up()
    return phone.call.call


TOLD: list[Told] = ["hello", ("mumble", 0.1), "what is the fee", EngineError("deaf"), "goodbye"]


def found(replayed: Replayed) -> list[tuple[int, str]]:
    return [(item.turn, item.what) for item in replayed.differences]


@pytest.mark.parametrize("kept", [True, False])
def test_the_same_code_decides_the_same(tmp_path: Path, kept: bool) -> None:
    call = a_call(TOLD, Replies(), tmp_path if kept else None)
    replayed = replay(call, Today(Replies(), TOLD))
    assert replayed.source == ("audio" if kept else "text")
    assert replayed.differences == ()
    assert [turn.decision for turn in replayed.turns] == [turn.decision for turn in call.turns]
    assert replayed.adapter == "keywords/2"


@pytest.mark.parametrize("kept", [True, False])
def test_another_answer_is_found_out(tmp_path: Path, kept: bool) -> None:
    call = a_call(TOLD, Replies(), tmp_path if kept else None)
    changed = Replies({"what is the fee": {"answer": "Ten dollars.", "decision": Decision.CACHE_HIT}})
    replayed = replay(call, Today(changed, TOLD))
    assert found(replayed) == [(3, "decision"), (3, "answer")]
    assert replayed.differences[1].recorded == "You said what is the fee."
    assert replayed.differences[1].replayed == "Ten dollars."


def test_another_transcript_is_found_out_where_the_sound_was_kept(tmp_path: Path) -> None:
    call = a_call(["hello"], Replies(), tmp_path)
    assert found(replay(call, Today(Replies(), ["yellow"]))) == [(1, "text"), (1, "answer")]


def test_a_call_that_would_end_sooner_is_found_out() -> None:
    from serving.call.machine import Next

    call = a_call(["hello", "what is the fee"], Replies())
    sooner = Replies({"hello": {"answer": "Goodbye.", "next": Next.END}})
    assert (0, "turns") in found(replay(call, Today(sooner)))


def test_an_interruption_is_replayed_where_the_sound_was_kept(tmp_path: Path) -> None:
    replies = {"tell me": LONG}
    phone = Telephone(["tell me", "stop it now"], Replies(replies), folder=tmp_path)
    phone.wait_for("listening")
    phone.talk(1.0)
    phone.wait_for("speaking")
    phone.wait(1.0)
    phone.talk(1.2)
    phone.wait_for("speaking")
    phone.wait_for("listening")
    phone.hang_up()
    replayed = replay(phone.call.call, Today(Replies(replies), ["tell me", "stop it now"]))
    assert replayed.differences == ()
    assert [turn.interrupted for turn in replayed.turns] == [True, False]
    assert replayed.turns[0].spoken == phone.call.call.turns[0].spoken


def test_a_replay_always_goes_the_same_way(tmp_path: Path) -> None:
    call = a_call(TOLD, Replies(), tmp_path)

    def times() -> list[object]:
        turns = replay(call, Today(Replies(), TOLD)).turns
        return [(turn.stages, turn.started_s, turn.spoken) for turn in turns]

    assert times() == times()


def test_a_call_that_goes_on_cannot_be_replayed() -> None:
    call = replace(a_call(["hello"], Replies()), ending=None)
    with pytest.raises(InvalidInputError, match="has not ended"):
        replay(call, Today(Replies()))


def test_what_was_done_at_the_bank_is_answered_from_the_record_and_only_once() -> None:
    done = ToolRecord("block_card", {"card": "<card>"}, True, {"blocked": True})
    tools = RecordedTools((), [done])
    asked = ToolCall("1", "block_card", {"card": "<card>"})
    assert tools.execute(asked, CONTEXT).value == {"blocked": True}
    assert not tools.execute(asked, CONTEXT).ok
    assert not tools.execute(ToolCall("2", "get_balance", {}), CONTEXT).ok


def test_differences_in_tools_name_the_arguments() -> None:
    (turn,) = a_call(["hello"], Replies()).turns
    call = replace(
        a_call(["hello"], Replies()),
        turns=(replace(turn, tools=(ToolRecord("loan", {"months": 60}, True),)),),
    )
    (item,) = differences(call, [turn], heard=True)
    assert (item.what, item.recorded, item.replayed) == ("tools", "loan(months=60)", "")
