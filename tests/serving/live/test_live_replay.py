"""Replaying a recorded call: the same code decides the same, other code is found out, nothing is touched."""

from dataclasses import replace
from pathlib import Path

import pytest

from serving.call.differences import differences
from serving.call.record import CallRecord, Decision, ToolRecord
from serving.call.recorded import RecordedTools
from serving.call.replay import Replayed, replay
from serving.errors import EngineError, InvalidInputError
from serving.language.protocols import ToolCall
from serving.tools.protocols import ToolContext
from tests.serving.live.again import Today
from tests.serving.live.telephone import (
    Replies,
    Telephone,
    Told,
)

LONG = "This is a long answer that goes on for a while. " * 6
CONTEXT = ToolContext(call_id="c", turn=1)


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
HEARD: list[Told] = [told for told in TOLD if not isinstance(told, EngineError)]
"""What there is to hear again; an utterance that was not understood is not kept."""


def found(replayed: Replayed) -> list[tuple[int, str]]:
    return [(item.turn, item.what) for item in replayed.differences]


@pytest.mark.parametrize("kept", [True, False])
def test_the_same_code_decides_the_same(tmp_path: Path, kept: bool) -> None:
    call = a_call(TOLD, Replies(), tmp_path if kept else None)
    replayed = replay(call, Today(Replies(), HEARD))
    assert replayed.source == ("audio" if kept else "text")
    assert replayed.differences == ()
    assert [turn.decision for turn in replayed.turns] == [turn.decision for turn in call.turns]
    assert replayed.adapter == "keywords/2"


@pytest.mark.parametrize("kept", [True, False])
def test_another_answer_is_found_out(tmp_path: Path, kept: bool) -> None:
    call = a_call(TOLD, Replies(), tmp_path if kept else None)
    changed = Replies({"what is the fee": {"answer": "Ten dollars.", "decision": Decision.CACHE_HIT}})
    replayed = replay(call, Today(changed, HEARD))
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
    assert found(replay(call, Today(sooner))) == [(1, "answer"), (2, "turns")]


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
        turns = replay(call, Today(Replies(), HEARD)).turns
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


def test_what_cannot_be_said_again_is_noted_and_is_no_difference() -> None:
    call = a_call(["hello", "what is the fee"], Replies())
    odd = replace(call.turns[0], text="hello <card> <card_2><email>")
    again = replay(replace(call, turns=(odd, call.turns[1])), Today(Replies()))
    assert again.differences == ()
    assert len(again.notes) == 1
    assert "Turn 1" in again.notes[0]
    assert "<card_2>" in again.notes[0]


def test_a_missing_or_added_turn_is_told_once_and_the_others_are_compared_with_their_own() -> None:
    told: list[Told] = ["hello", "what is the fee", "and the rate", "and the term", "goodbye"]
    call = a_call(told, Replies())
    changed = replace(call.turns[3], answer="Another.")
    turns = [call.turns[0], *call.turns[2:3], changed, call.turns[4]]
    missing = differences(call, turns, heard=True)
    assert [(item.turn, item.what, item.recorded) for item in missing] == [
        (2, "turns", "what is the fee"), (4, "answer", "You said and the term."),
    ]  # fmt: skip
    added = differences(replace(call, turns=tuple(turns)), call.turns, heard=True)
    assert [(item.turn, item.what, item.replayed) for item in added] == [
        (2, "turns", "what is the fee"), (4, "answer", "You said and the term."),
    ]  # fmt: skip


def test_of_two_turns_with_the_same_words_the_one_of_that_time_is_compared() -> None:
    call = a_call(["yes", "yes", "yes"], Replies())
    found_out = differences(call, [call.turns[0], call.turns[2]], heard=True)
    assert [(item.turn, item.what) for item in found_out] == [(2, "turns")]
