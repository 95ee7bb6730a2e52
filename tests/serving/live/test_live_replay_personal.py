"""Replaying calls with typed, keyed, interrupted and personal words: the same code decides the same."""

from dataclasses import replace
from pathlib import Path

import pytest

from serving.audio import read_wav_channels
from serving.call.record import CallRecord, TurnRecord
from serving.call.replay import replay
from serving.call.toolbox import Toolbox
from serving.settings import Settings
from serving.tools.sandbox_people import FIRST
from tests.serving.call.bank_caller import box_of, done, responder_of, sandbox_in
from tests.serving.call.phone import Bank, ToldStt, fill_cache, spoken, typed
from tests.serving.live.again import Caller, Today, same
from tests.serving.live.telephone import (
    Replies,
    Told,
)

LONG = "This is a long answer that goes on for a while. " * 6


@pytest.fixture(params=[True, False], ids=["audio", "text"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path | None:
    """Of the recording; None where none is kept."""
    return tmp_path if request.param else None


@pytest.fixture(scope="module")
def cache_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("cache")
    fill_cache(made)
    return made


@pytest.fixture
def box(settings: Settings, cache_folder: Path, tmp_path: Path) -> Toolbox:
    """A bank whose callers are known."""
    return box_of(Bank(settings, cache_folder), sandbox_in(tmp_path))


def test_what_was_typed_in_a_spoken_call_is_replayed_in_its_place(folder: Path | None) -> None:
    told: list[Told] = ["hello", "what is the fee"]
    caller = Caller(told, Replies(), folder)
    caller.says()
    caller.types("and the rate")
    caller.says()
    call = caller.hangs_up()
    assert [turn.stt_engine for turn in call.turns] == ["told", "typed", "told"]
    same(call, Today(Replies(), told))


@pytest.mark.parametrize("typed", [False, True])
def test_who_interrupts_an_answer_does_so_again(folder: Path | None, typed: bool) -> None:
    told: list[Told] = ["tell me", "go on then"] if typed else ["tell me", "stop it now", "go on then"]
    replies = {"tell me": LONG}
    caller = Caller(told, Replies(replies), folder)
    caller.says()
    if typed:
        caller.types("stop it now", over_the_bot=True)
    else:
        caller.says(over_the_bot=True)
    caller.says()
    call = caller.hangs_up()
    assert [turn.interrupted for turn in call.turns] == [True, False, False]
    today = Replies(replies)
    same(call, Today(today, told))
    assert today.states[1].last_answer == caller.phone.replies.states[1].last_answer
    assert today.states[1].messages == caller.phone.replies.states[1].messages


def test_a_caller_who_was_verified_by_keys_is_so_again(folder: Path | None, box: Toolbox) -> None:
    told: list[Told] = ["what is my balance", "my transactions please"]
    caller = Caller(told, responder_of(box), folder)
    caller.says()
    caller.keys(FIRST.number)
    caller.keys("05031971")
    caller.says()
    call = caller.hangs_up()
    assert [turn.text for turn in call.turns[1:3]] == ["<account>", "<birth_date>"]
    assert [tool.name for tool in call.turns[2].tools] == ["verify_caller", "get_balance"]
    assert call.verified
    same(call, Today(Replies(), told, box))


SPOKEN: list[list[Told]] = [
    ["what is my balance", "one zero four eight two nine one seven", "May third nineteen seventy one", "bye"],
    ["my balance", "one zero four eight", "two nine", "one seven", "May 3 1971", "my transactions please"],
    ["my balance", "10482917", "May the third", "May 3 1971"],
    ["my balance", "1048291712", "10482917", "May 4 1971", "10482917", "May 3 1971"],
    ["my customer number is 10482917 and I was born on May 3 1971, my balance please"],
    ["block my card", "10482917", "May 3 1971", "the one ending in 4821", "yes"],
    ["block my card ending in 4821", "10482917", "May 3 1971", "yes"],
    ["block my card ending in 7777", "10482917", "May 3 1971"],
    ["my card number is 4111 1111 1111 1111", "hello", "bye"],
    ["my balance", ("10482918", 0.4), "10482917", ("May 4 1971", 0.4), "May 3 1971"],
    ["my balance", ("10482918", 0.1), "10482917", "May 3 1971"],
    ["my name is Maria Lopez", "what is my balance", "10482917", "May 3 1971", "hello Maria"],
    ["call me in the morning", "10482917", "05031971", "yes"],
    [
        "my balance", "10482917", "May 3 1971", "my last 5 transactions", "block my card",
        "the one ending in 4821", "yes", "a plan for my arrears", "50 dollars", "yes",
        "call me in the morning", "yes", "bye",
    ],
]  # fmt: skip


@pytest.mark.parametrize("lines", SPOKEN, ids=range(len(SPOKEN)))
def test_personal_words_that_are_not_on_record_are_decided_as_they_were(
    folder: Path | None, box: Toolbox, lines: list[Told]
) -> None:
    caller = Caller(lines, responder_of(box), folder)
    for _ in lines:
        caller.says()
    call = caller.hangs_up()
    assert any("<" in turn.text for turn in call.turns)
    kept = [line for line, turn in zip(lines, call.turns, strict=True) if not silent(call, turn)]
    same(call, Today(Replies(), kept, box))


def silent(call: CallRecord, turn: TurnRecord) -> bool:
    """Whether a turn's sound was not kept."""
    if call.recording is None or turn.started_s is None:
        return False
    caller = read_wav_channels(Path(call.recording))[0]
    middle = round((turn.started_s + turn.audio_s / 2) * caller.rate)
    return not caller.samples[middle - 800 : middle + 800].any()


def replayed_the_same(caller: Caller, lines: list[Told], box: Toolbox) -> CallRecord:
    call = caller.hangs_up()
    kept = [line for line, turn in zip(lines, call.turns, strict=True) if not silent(call, turn)]
    same(call, Today(Replies(), kept, box))
    return call


BLOCK: list[Told] = ["block my card ending in 4821", "10482917", "May 3 1971", "yes", "yes"]


def test_a_question_that_was_asked_again_after_a_long_silence_is_so_again(
    folder: Path | None, box: Toolbox
) -> None:
    caller = Caller(BLOCK, responder_of(box), folder)
    for _ in BLOCK[:3]:
        caller.says()
    caller.phone.wait_for("listening")
    caller.phone.wait(9.0)
    caller.says()
    caller.says()
    call = replayed_the_same(caller, BLOCK, box)
    assert [len(turn.tools) for turn in call.turns[3:]] == [0, 1]


def test_a_yes_to_what_was_not_heard_is_none_again(folder: Path | None, box: Toolbox) -> None:
    caller = Caller(BLOCK, responder_of(box), folder)
    for _ in BLOCK[:3]:
        caller.says()
    caller.phone.wait(0.1)
    caller.phone.talk(1.0)
    caller.phone.wait_for("speaking")
    caller.says()
    call = replayed_the_same(caller, BLOCK, box)
    assert [turn.interrupted for turn in call.turns] == [False, False, True, False, False]
    assert [len(turn.tools) for turn in call.turns[3:]] == [0, 1]


def test_a_turn_that_was_silenced_in_part_is_replayed_whole(folder: Path | None, box: Toolbox) -> None:
    told: list[Told] = ["hello there", "my card number is", "4111 1111 1111 1111", "bye"]
    slow = {"answer": 1.5, "stt": 1.0, "tts": 0.3}
    caller = Caller(told, responder_of(box), folder, cost=lambda name: slow.get(name, 0.0))
    caller.says()
    caller.phone.wait_for("listening")
    caller.phone.talk(1.0)
    caller.phone.wait(0.9)
    caller.phone.talk(1.5)
    caller.phone.wait_for("speaking")
    caller.says(over_the_bot=True)
    call = caller.hangs_up()
    assert [turn.text for turn in call.turns] == ["hello there", "my card number is <card>", "bye"]
    same(call, Today(Replies(), [told[0], told[3]], box))


def test_a_replay_touches_no_account(tmp_path: Path, settings: Settings, cache_folder: Path) -> None:
    sandbox = sandbox_in(tmp_path)
    box = box_of(Bank(settings, cache_folder), sandbox)
    lines: list[Told] = ["block my card ending in 4821", "10482917", "May 3 1971", "yes"]
    caller = Caller(lines, responder_of(box), None)
    for _ in lines:
        caller.says()
    call = caller.hangs_up()
    before = sandbox.audit()
    assert done(sandbox) == ["block_card"]
    same(call, Today(Replies(), [], box))
    assert sandbox.audit() == before


def test_another_decision_about_a_verified_caller_is_found_out(folder: Path | None, box: Toolbox) -> None:
    lines: list[Told] = ["what is my balance", "10482917", "May 3 1971"]
    caller = Caller(lines, responder_of(box), folder)
    for _ in lines:
        caller.says()
    call = caller.hangs_up()
    told = replace(call.turns[2], answer="Your account holds <balance>.")
    again = replay(replace(call, turns=(*call.turns[:2], told)), Today(Replies(), lines[:1], box))
    assert [(item.turn, item.what) for item in again.differences] == [(3, "answer")]


@pytest.mark.parametrize("voice", [True, False])
def test_a_call_that_took_turns_with_the_bot_is_replayed(
    settings: Settings, cache_folder: Path, tmp_path: Path, voice: bool
) -> None:
    bank = Bank(settings, cache_folder)
    box = box_of(bank, sandbox_in(tmp_path))
    words: list[Told] = ["what is my balance", "10482917", "May 3 1971", "my transactions please"]
    lines = [spoken(1.0), *typed("10482917", "May 3 1971"), spoken(1.0)] if voice else typed(*map(str, words))
    stt = ToldStt([words[0], words[3]], bank.counter) if voice else None
    call = bank.call(lines, stt=stt, responder=responder_of(box), box=box)
    assert (call.recording is not None) is voice
    assert len(call.turns) == 4
    same(call, Today(Replies(), [words[0], words[3]], box))
