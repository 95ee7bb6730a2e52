"""Sound that is made before the first call: what most calls need, and nothing of any caller's."""

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from loguru import logger

from serving.audio import AudioClip
from serving.call.responder import Responder
from serving.call.warming import warm_voice
from serving.errors import EngineError
from serving.speech.protocols import EngineInfo
from serving.speech.speech_cache import SpeechCache
from tests.serving.call.phone import SCOPE, HummingTts, KeywordTagger, knowledge, toolbox
from tests.serving.live.telephone import Telephone

OPENING = "You are talking to a machine. This call is recorded."


def runtime(cache_folder: Path, kept: SpeechCache | None) -> Any:
    """As much of a runtime as warming needs."""

    def opening(*, voice: bool, recorded: bool) -> str:
        assert voice
        return OPENING if recorded else ""

    settings = SimpleNamespace(keep_recordings=True)
    return SimpleNamespace(kept=kept, box=toolbox(cache_folder), opening=opening, settings=settings)


class Reading:
    """A voice that has only what was made before, and notes what it lacks."""

    info = EngineInfo("reading", "a cache")
    rate = HummingTts.rate

    def __init__(self, kept: SpeechCache) -> None:
        self._kept = kept
        self.lacks: list[str] = []

    def synthesise(self, text: str) -> Iterator[AudioClip]:
        found = self._kept.get(text)
        if found is None:
            self.lacks.append(text)
            raise EngineError("It was not made beforehand.")
        yield from found


def test_a_call_finds_greeting_approved_answer_and_phrases_made_before_it_began(cache_folder: Path) -> None:
    voice = HummingTts()
    kept = SpeechCache(voice)
    made = warm_voice(runtime(cache_folder, kept))
    assert made == len(set(voice.said)) == len(voice.said) > 100
    reading = Reading(kept)
    responder: Any = Responder(toolbox(cache_folder), KeywordTagger(), SCOPE, OPENING)
    phone = Telephone(replies=responder, tts=reading)
    for text in ("when is the branch open", "hello", "what is the weather", "bye"):
        phone.wait_for("listening")
        phone.call.typed(text)
    phone.time.run_until(phone.time.now() + 60.0)
    assert len(phone.book.turns) == 4
    assert reading.lacks == []


def test_the_first_thing_made_is_what_every_call_begins_with(cache_folder: Path) -> None:
    voice = HummingTts()
    warm_voice(runtime(cache_folder, SpeechCache(voice)))
    assert voice.said[0] == "You are talking to a machine."


def test_what_is_filled_in_for_a_caller_is_not_made(cache_folder: Path) -> None:
    voice = HummingTts()
    warm_voice(runtime(cache_folder, SpeechCache(voice)))
    assert any("{" in text for text in knowledge().prompts.values())
    assert not [text for text in voice.said if "{" in text or "}" in text]


def test_a_sentence_that_fails_costs_that_sentence_only(cache_folder: Path) -> None:
    class Failing(HummingTts):
        def synthesise(self, text: str) -> Iterator[AudioClip]:
            if text.startswith("This call"):
                raise EngineError("The voice broke.")
            return super().synthesise(text)

    whole, failing = HummingTts(), Failing()
    warnings: list[str] = []
    sink = logger.add(warnings.append, level="WARNING", format="{message}")
    expected = warm_voice(runtime(cache_folder, SpeechCache(whole))) - 1
    assert warm_voice(runtime(cache_folder, SpeechCache(failing))) == expected
    logger.remove(sink)
    assert len(warnings) == 1
    assert "EngineError" in warnings[0]


def test_a_server_without_a_voice_makes_nothing(cache_folder: Path) -> None:
    assert warm_voice(runtime(cache_folder, None)) == 0
