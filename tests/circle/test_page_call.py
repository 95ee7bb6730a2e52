"""The page in a real browser, its microphone playing a synthetic caller, against the real server."""

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from fastapi.responses import FileResponse

from serving.audio import SPEECH_RATE, AudioClip, concatenate, write_wav
from serving.call.line import Line
from serving.call.live import LiveCall
from serving.call.live_background import BackgroundState
from serving.call.live_memory import MemoryLiveState
from serving.call.record import Decision
from serving.call.runtime import Runtime
from serving.call.scheduler import AsyncScheduler
from serving.services.draining import DrainingServer, uvicorn_config
from serving.services.live_calls import LiveCalls
from serving.services.open_calls import OpenCalls
from serving.services.orchestrator import create_app
from serving.speech.engines import caller_tts
from tests.circle.fixtures import Circle
from tests.conftest import TODAY
from tests.page.browsers import chromium_launcher, microphone
from tests.page.loopback import TAP, TESTS

if TYPE_CHECKING:
    from playwright.sync_api import Page

QUESTION = "can i pay off my personal loan early"
GREETING_S = 11.0
"""Silence before the caller talks: more than the browser's start and the greeting take."""
PATIENCE_MS = 60_000.0


@dataclass(frozen=True)
class Served:
    """The real server, in a thread."""

    address: str
    runtime: Runtime


@pytest.fixture(scope="module")
def served(finished_circle: Circle) -> Iterator[Served]:
    """All that `start-call` serves, on a day on which every wording is in force."""
    # The caller waits in real time for what the bot says: it speaks fast, and needs no notice of recording.
    settings = finished_circle.settings.model_copy(
        update={"keep_recordings": False, "espeak_words_per_minute": 300}
    )
    with (
        Runtime(settings, voice=True, today=lambda: TODAY) as runtime,
        contextlib.closing(BackgroundState(MemoryLiveState())) as state,
        ThreadPoolExecutor(4) as pool,
        socket.create_server(("127.0.0.1", 0)) as listener,
    ):

        def open_call(line: Line, *, call_id: str, caller_id: str, closed: Callable[[], None]) -> LiveCall:
            return runtime.open_live(
                line,
                AsyncScheduler(pool),
                call_id=call_id,
                caller_id=caller_id,
                closed=lambda _call: closed(),
            )

        live = LiveCalls(open_call, state, most=2)
        app = create_app(runtime, OpenCalls(counted=lambda _number: None), live)
        app.add_api_route(f"/{TAP}", lambda: FileResponse(TESTS / TAP, media_type="text/javascript"))
        server = DrainingServer(uvicorn_config(app), live, 1.0)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        yield Served(f"http://127.0.0.1:{listener.getsockname()[1]}/", runtime)
        server.should_exit = server.force_exit = True
        thread.join(20)


def caller_wav(folder: Path, served: Served) -> Path:
    voice = caller_tts(served.runtime.settings)
    words = [clip.resampled(SPEECH_RATE) for clip in voice.synthesise(QUESTION)]
    before, after = (
        AudioClip(np.zeros(int(seconds * SPEECH_RATE), np.int16), SPEECH_RATE) for seconds in (GREETING_S, 2)
    )
    path = folder / "caller.wav"
    write_wav(path, [concatenate([before, *words, after], SPEECH_RATE)])
    return path


def loudness_played(page: "Page") -> float:
    """Root mean square of what went to the loudspeaker since the page was loaded."""
    sum_of_squares, samples = page.evaluate(
        """() => [tapped.sounds.flatMap((sound) => Array.from(sound)).reduce((sum, x) => sum + x * x, 0),
                  tapped.sounds.length * 128]"""
    )
    return float(np.sqrt(sum_of_squares / samples))


@pytest.mark.slow
def test_a_spoken_question_is_recognised_answered_aloud_and_shown_with_its_figures(
    served: Served, tmp_path: Path
) -> None:
    wav = caller_wav(tmp_path, served)
    with chromium_launcher() as launch:
        context = launch(*microphone(wav, once=True)).new_context()
        context.add_init_script(path=TESTS / "tapped.js")
        page = context.new_page()
        complaints: list[str] = []
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("console", lambda said: complaints.extend([said.text] if said.type == "error" else []))
        page.goto(served.address)
        page.click("#start-talk")
        page.wait_for_selector(".turn[data-turn='0'] .bot", timeout=PATIENCE_MS)
        page.wait_for_selector(".turn[data-turn='1'] .figures", timeout=PATIENCE_MS)
        turn = page.locator(".turn[data-turn='1']")
        assert turn.locator(".you .what").inner_text().strip() == QUESTION
        assert turn.locator("code").first.inner_text() == "loan_early_repayment"
        assert turn.locator(".decision").inner_text() == "cache hit"
        assert turn.locator(".waits .bad").count() == 0
        call_id = page.inner_text("#fact-call")
        assert loudness_played(page) > 0.005
        page.click("#hang-up")
        page.wait_for_selector("#over-title:text-is('You hung up')")
        assert complaints == []
    record = served.runtime.records.call(call_id)
    first = record.turns[0]
    assert first.decision is Decision.CACHE_HIT
    assert first.voice_to_voice_s is not None
    assert sum(first.stages.values()) == pytest.approx(first.voice_to_voice_s, abs=0.005)
    assert (record.transport, record.ending) == ("browser", "caller_left")


@pytest.mark.slow
def test_a_typed_question_is_answered_aloud(served: Served) -> None:
    with chromium_launcher() as launch:
        page = launch().new_page()
        page.goto(served.address)
        page.click("#start-type")
        page.wait_for_selector("body[data-line=live]")
        page.fill("#words", QUESTION)
        page.press("#words", "Enter")
        page.wait_for_selector(".turn[data-turn='1'] .figures", timeout=PATIENCE_MS)
        turn = page.locator(".turn[data-turn='1']")
        assert turn.locator(".you .what").inner_text().strip() == QUESTION
        assert turn.locator("code").first.inner_text() == "loan_early_repayment"
