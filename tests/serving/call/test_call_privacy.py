"""Personal data stays in the memory of its call: nothing of it in records, logs, metrics or files."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pytest
from loguru import logger

from serving.audio import read_wav_channels
from serving.call.generation import execute
from serving.call.record import Decision, Unrecorded
from serving.errors import EngineError
from serving.language.protocols import TextDelta, ToolCall
from serving.settings import Settings
from serving.telemetry.logs import LOG_FILE, configure_logs
from serving.telemetry.metrics import TurnMetrics
from serving.telemetry.traces import SpanFacts, TraceObserver
from serving.tools.compliance import load_compliance
from serving.tools.protocols import Effect, Tool
from serving.tools.schema import Personal, tool_schema
from tests.serving.call.phone import (
    Bank,
    HummingTts,
    TellingLlm,
    Told,
    ToldStt,
    knowledge,
    spoken,
    spoken_turns,
    toolbox,
    typed,
)
from tests.serving.live.telephone import Replies

CARD = "4111 1111 1111 1111"
NAME = "Zanthia Quillfeather"
PHONE = "415 555 0199"
SECRETS = ("4111", "1111", "zanthia", "quillfeather", "0199", "4155550199", "555")
LINES = (
    f"hello my name is {NAME}",
    f"my card number is {CARD} and my phone is {PHONE}",
    "zanthia quillfeather wants to borrow ten thousand dollars over four years",
    f"weather {CARD}",
    "four one one one one one one one one one one one one one one one",
    f"{NAME} {PHONE} " + "and so on " * 300,
    f"please do not record me, {NAME}",
    f"agent for {NAME}",
)


@pytest.fixture
def log_file(settings: Settings) -> Iterator[Path]:
    configure_logs(settings, console=False)
    yield settings.home / LOG_FILE
    logger.remove()


def everything_under(folder: Path) -> bytes:
    """All bytes of all files, the database's journal included."""
    return b"\n".join(path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file())


def secrets_in(data: str | bytes) -> list[str]:
    text = data.decode("utf-8", "replace") if isinstance(data, bytes) else data
    words = re.sub(r"[0-9a-f]{32,64}", "", text.lower())
    return [secret for secret in SECRETS if re.search(rf"(?<![0-9.]){re.escape(secret)}(?![0-9])", words)]


def test_the_search_itself_finds_what_it_looks_for() -> None:
    assert secrets_in("x Zanthia 4111") == ["4111", "zanthia"]


@pytest.mark.parametrize("by_voice", [False, True], ids=["typed", "spoken"])
def test_nothing_personal_is_left_by_a_whole_call(bank: Bank, log_file: Path, by_voice: bool) -> None:
    metrics = TurnMetrics()
    if by_voice:
        told = [(line, 0.4) if "borrow" in line else line for line in LINES]
        call = bank.call([spoken(0.5) for _ in told], stt=ToldStt(told), observers=[metrics], max_failures=9)
    else:
        call = bank.call(typed(*LINES), observers=[metrics], max_failures=9)
    assert len(call.turns) == len(LINES)
    logger.info("a careless line: {} {}", NAME, CARD)
    logger.complete()
    stored = everything_under(bank.settings.home)
    assert b"careless line" in stored
    assert call.call_id.encode() in stored
    assert secrets_in(re.sub(rb"a careless line: [^\"]*", b"", stored)) == []
    assert CARD.encode() not in stored
    assert secrets_in(repr(call)) == []
    assert secrets_in(repr(bank.watcher.turns)) == []
    assert secrets_in(metrics.exposition()) == []


def test_a_failed_turn_is_redacted_with_what_earlier_turns_introduced(bank: Bank) -> None:
    told: list[Told] = [f"hello my name is {NAME}", ("zanthia quillfeather", 0.1)]
    _, unsure = bank.call([spoken(0.5)] * 2, stt=ToldStt(told)).turns
    assert unsure.decision is Decision.REPROMPT
    assert unsure.text == "<name>"


def test_what_a_failed_turn_introduced_keeps_its_placeholder(bank: Bank) -> None:
    told: list[Told] = [
        (f"my card number is {CARD}", 0.1),
        "my card number is 5500 0000 0000 0004",
        f"my card number is {CARD}",
    ]
    turns = bank.call([spoken(0.5)] * 3, stt=ToldStt(told)).turns
    assert [turn.text for turn in turns] == [
        "my card number is <card>",
        "my card number is <card_2>",
        "my card number is <card>",
    ]


@pytest.mark.parametrize("between", [[], [("uh", 0.1)]])
def test_what_a_failed_turn_began_is_redacted_in_the_next_one(bank: Bank, between: list[Told]) -> None:
    told: list[Told] = ["my name is", *between, "xylia"]
    replies = Replies({"my name is": EngineError("broken"), "xylia": EngineError("broken")})
    turns = spoken_turns(bank, told, responder=replies, max_failures=9)
    assert [turn.text for turn in turns] == ["my name is", *("uh" for _ in between), "<name>"]


def test_placeholders_stay_the_same_over_the_turns_of_a_call(bank: Bank) -> None:
    turns = bank.typed(
        f"my card number is {CARD}",
        "my card number is 5500 0000 0000 0004",
        "hello",
        f"my card number is {CARD.replace(' ', '')}",
    )
    assert [re.findall(r"<card[_0-9]*>", turn.text) for turn in turns] == [
        ["<card>"],
        ["<card_2>"],
        [],
        ["<card>"],
    ]


def test_a_cut_through_a_long_text_never_leaves_half_a_number(bank: Bank) -> None:
    """The record keeps the first characters of a text that is too long; a number is replaced before that."""
    limit = bank.settings.max_turn_chars
    for shift in range(20):
        (turn,) = bank.typed("a " * (limit // 2 - shift) + f"card {CARD} end")
        assert secrets_in(turn.text) == []


# Tools


def test_a_tool_gets_the_true_value_and_the_record_the_placeholder(bank: Bank) -> None:
    got: list[str] = []

    def block_card(card: Annotated[str, Personal]) -> Mapping[str, Any]:
        """Block a card."""
        got.append(card)
        return {"blocked": card, "note": f"card {card} is blocked"}

    tool = Tool(tool_schema(block_card), block_card, Effect.READ)
    llm = TellingLlm(
        [ToolCall("abc123def", "block_card", {"card": "<card>"})], [TextDelta("Your card is blocked.")]
    )
    box = toolbox(bank.cache_folder, llm, extra_tools=[tool])
    (turn,) = bank.typed(f"monthly payment, and my card number is {CARD}", box=box)
    assert got == ["4111111111111111"]
    assert turn.llm_engine == "telling"
    assert turn.tools[0].arguments == {"card": "<card>"}
    assert turn.tools[0].value == {"blocked": "<card>", "note": "card <card> is blocked"}
    assert secrets_in(repr(llm.requests)) == []


def test_personal_values_are_spoken_by_the_bot_but_never_written(bank: Bank) -> None:
    llm = TellingLlm([TextDelta("Thank you <name>, your card is <card>.")])
    tts = HummingTts()
    told = [f"my name is {NAME} card {CARD}, when may I pay the thing back early"]
    rules = (("early", "loan_early_repayment"),)
    from serving.call.responder import Responder
    from tests.serving.call.phone import SCOPE, KeywordTagger

    responder = Responder(toolbox(bank.cache_folder, llm), KeywordTagger(rules=rules), SCOPE)
    (turn,) = bank.call([spoken(0.5)], stt=ToldStt(told), tts=tts, responder=responder).turns
    assert turn.answer == turn.spoken == "Thank you <name>, your card is <card>."
    assert f"Thank you {NAME}, your card is four one one one, one one one one" in " ".join(tts.said)


def test_an_interrupted_answer_leaves_no_part_of_a_number_on_record(bank: Bank) -> None:
    from collections.abc import Iterator as Sounds

    from serving.audio import AudioClip
    from serving.call.clock import FileClock
    from serving.call.patience import Patience
    from serving.call.playout import PlayoutLedger
    from serving.call.recording import Recording
    from serving.call.speaking import Voice
    from tests.serving.call.phone import Counter, loud

    class Interrupted(HummingTts):
        def synthesise(self, text: str) -> Sounds[AudioClip]:
            yield loud(1.0)
            raise RuntimeError

    voice = Voice(Interrupted(), FileClock(Counter()), Recording(wanted=False), Patience(9.0))
    voice.say("Your card <card> is blocked. Goodbye.", {"<card>": "4111111111111111"}, None)
    assert voice.heard() == "Your card <card> is blocked."
    assert PlayoutLedger().heard(9.0) == ""


def test_words_that_break_the_redaction_are_not_kept(bank: Bank, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_arguments: object, **_options: object) -> None:
        raise RecursionError

    monkeypatch.setattr("serving.call.book.redacted_words", broken)
    (turn,) = bank.call([spoken(0.5)], stt=ToldStt([("4111 1111 1111 1111", 0.1)])).turns
    assert turn.text == ""
    assert "redaction: RecursionError" in turn.error


@pytest.mark.parametrize(
    "told",
    [
        ["hello", EngineError("broken")],
        ["hello", "4111"],
        ["hello", "four", "one"],
        ["hello", ("pay five hundred dollars", 0.1)],
    ],
)
def test_sound_that_was_not_understood_or_is_a_part_of_a_number_is_not_kept(
    bank: Bank, told: list[Told]
) -> None:
    told = [*told, "one one one", "one one one one"]
    call = bank.call(
        [spoken(1.0) for _ in told], stt=ToldStt(told, bank.counter), tts=HummingTts(bank.counter)
    )
    assert call.recording is not None
    caller, _ = read_wav_channels(Path(call.recording))
    voiced = np.abs(caller.samples.astype(np.int32)) > 1_000
    first = int(np.flatnonzero(voiced)[0])
    assert not voiced[first + caller.rate * 3 // 2 :].any()
    assert voiced[first : first + caller.rate].any()


def test_a_caller_who_asks_for_no_recording_gets_none_though_the_answer_breaks(bank: Bank) -> None:
    asks = "please do not record this call"
    replies = Replies({asks: EngineError("broken")})
    call = bank.call([spoken(1.0)], stt=ToldStt([asks], bank.counter), responder=replies)
    assert (call.recording, call.unrecorded) == (None, Unrecorded.OPTED_OUT)


def test_no_approved_wording_looks_like_personal_data() -> None:
    """Else what the bot says would be changed on its way to the record."""
    from serving.settings import default_data_dir
    from serving.telemetry.redaction import contains_personal

    texts = [text.text for text in load_compliance(default_data_dir() / "compliance").texts]
    texts += [answer.text for answer in knowledge().answers] + list(knowledge().prompts.values())
    assert [text for text in texts if contains_personal(text)] == []


def test_a_tool_that_a_turn_calls_knows_where_the_call_comes_from(bank: Bank) -> None:
    assert callable(execute)


# Odd forms

ODD: dict[str, tuple[str, ...]] = {
    "my card number is four two double two then uh nine seven six three and then five eight oh three and "
    "finally six one nine two": ("4222976358036192", "nine seven six three", "six one nine two", "9763"),
    "the account number is seventy one, oh eight, fifty three and then nine six": (
        "71085396", "seventy one", "fifty three", "nine six",
    ),
    "i was born on the twenty third of the eleventh one nine six seven": (
        "1967-11-23", "twenty third", "eleventh", "one nine six seven",
    ),
    "area code six one seven then five five five then oh one eight eight is my phone": (
        "6175550188", "six one seven", "one eight eight",
    ),
    "that would be q dot b r e n n o k seventy three at g mail dot com": (
        "q.brennok73@gmail.com", "b r e n n o k", "brennok73", "seventy three",
    ),
    "it's brennok, b as in bear r as in ran e as in ear n as in nut n as in nut o as in oak k as in kit": (
        "brennok", "as in nut", "b as in bear",
    ),
    "monthly payment please, brennok speaking": ("brennok",),
    "my card number is": (),
    "and is brennok's card blocked": ("brennok",),
}  # fmt: skip
"""What a caller says → what must be found nowhere."""


class KeptSpans:
    """Keeps the spans that a trace is made of."""

    def __init__(self) -> None:
        self.spans: list[SpanFacts] = []

    def emit(self, call_id: str, spans: Sequence[SpanFacts]) -> None:
        self.spans.extend(spans)

    def close(self) -> None:
        pass


def test_values_in_odd_forms_are_found_nowhere(bank: Bank, log_file: Path) -> None:
    """Neither figures nor words: database, log, cache, metrics, spans, export, what an engine was sent."""
    metrics, sink = TurnMetrics(), KeptSpans()
    llm = TellingLlm(*[[TextDelta("Anything else?")] for _ in range(2 * len(ODD))])
    box = toolbox(bank.cache_folder, llm)
    call = bank.call(typed(*ODD), box=box, observers=[metrics, TraceObserver(sink)], max_failures=99)
    for said in [said for said in ODD if "brennok's" not in said]:  # a log line knows no earlier turns
        logger.info("heard: {}", said)
    logger.complete()
    assert len(call.turns) == len(ODD)
    places = {
        "files": everything_under(bank.settings.home).decode("utf-8", "replace"),
        "cache": everything_under(bank.cache_folder).decode("utf-8", "replace"),
        "metrics": str(metrics.exposition()),
        "export": json.dumps(asdict(call), default=str),
        "engine": repr(llm.requests),
        "spans": repr(sink.spans),
    }
    assert len(sink.spans) > len(ODD)
    assert call.call_id in places["files"]
    assert "heard: my card number is <" in places["files"]
    secrets = {secret for hidden in ODD.values() for secret in hidden}
    for place, text in places.items():
        # Four figures alone come by chance in a hash.
        found = [secret for secret in secrets if len(secret) > 5 and secret in text.lower()]
        assert found == [], place
