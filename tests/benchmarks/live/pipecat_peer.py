"""Pipecat's side: its own pipeline, aggregators, turn strategies and transports, with stub engines.

Runs in the peer's environment, one number of calls a process: `python -m tests.benchmarks.live.pipecat_peer
--calls 10 --setting shipped`. Every choice favours low latency and is explained where it is made; docs/
benchmarks.md lists them.
"""

import argparse
import asyncio
import gc
import sys
import time
from collections.abc import AsyncGenerator
from dataclasses import fields
from typing import Any

import numpy as np
from loguru import logger
from pipecat.audio.vad.vad_analyzer import VADAnalyzer, VADParams, VADState
from pipecat.frames.frames import (
    Frame,
    InputAudioRawFrame,
    InterruptionFrame,
    LLMContextFrame,
    LLMFullResponseEndFrame,
    LLMFullResponseStartFrame,
    LLMTextFrame,
    OutputAudioRawFrame,
    StartFrame,
    TranscriptionFrame,
    TTSAudioRawFrame,
)
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.worker import PipelineParams, PipelineWorker
from pipecat.processors.aggregators.llm_context import LLMContext
from pipecat.processors.aggregators.llm_response_universal import (
    LLMContextAggregatorPair,
    LLMUserAggregatorParams,
)
from pipecat.processors.frame_processor import FrameDirection
from pipecat.services.llm_service import LLMService
from pipecat.services.settings import LLMSettings, STTSettings, TTSSettings
from pipecat.services.stt_service import SegmentedSTTService
from pipecat.services.tts_service import TextAggregationMode, TTSService
from pipecat.transports.base_input import BaseInputTransport
from pipecat.transports.base_output import BaseOutputTransport
from pipecat.transports.base_transport import TransportParams
from pipecat.turns.user_start import VADUserTurnStartStrategy
from pipecat.turns.user_stop import SpeechTimeoutUserTurnStopStrategy
from pipecat.turns.user_turn_strategies import UserTurnStrategies
from pipecat.workers.runner import WorkerRunner

from tests.benchmarks.live import workload as w

VAD_STOP_S = 0.2
"""Pipecat's default and recommendation: speech-to-text begins here and is over long before the turn is, so
that its delay is hidden in the silence."""
UNAVOIDABLE_S = w.SILENCE_S + w.LLM_S + w.TTS_S
_REPLY = w.voice(w.REPLY_S, 330.0).tobytes()


class EnergyVad(VADAnalyzer):
    """The energy decision of both sides behind Pipecat's own analyzer."""

    def num_frames_required(self) -> int:
        return w.CHUNK

    def voice_confidence(self, buffer: bytes) -> float:
        return float(w.voiced(np.frombuffer(buffer, np.int16)))


class LeanEnergyVad(EnergyVad):
    """Without what the energy decision does not need: a thread for every call, and the volume's measure."""

    async def analyze_audio(self, buffer: bytes) -> VADState:
        return self._run_analyzer(buffer)

    def _get_smoothed_volume(self, audio: bytes) -> float:
        return 1.0


class StubStt(SegmentedSTTService):
    """Final text a fixed time after it is asked for; Pipecat's kind for recognisers on one's own machine."""

    wants_wav_segments = False

    def __init__(self) -> None:
        super().__init__(
            trailing_silence_secs=0.0,
            ttfs_p99_latency=VAD_STOP_S + w.STT_S,
            settings=STTSettings(model="stub", language=None),
        )

    async def run_stt(self, audio: bytes) -> AsyncGenerator[Frame, None]:
        await asyncio.sleep(w.STT_S)
        yield TranscriptionFrame(w.WORDS, "caller", "")


class StubLlm(LLMService):
    """The whole answer a fixed time after the question, in one piece: fewer frames than tokens would be."""

    def __init__(self) -> None:
        unused: dict[str, Any] = {
            field.name: None for field in fields(LLMSettings) if field.name not in ("model", "extra")
        }
        super().__init__(settings=LLMSettings(model="stub", **unused))

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        await super().process_frame(frame, direction)
        if not isinstance(frame, LLMContextFrame):
            await self.push_frame(frame, direction)
            return
        await self.push_frame(LLMFullResponseStartFrame())
        await asyncio.sleep(w.LLM_S)
        await self.push_frame(LLMTextFrame(w.ANSWER))
        await self.push_frame(LLMFullResponseEndFrame())


class StubTts(TTSService):
    """All sound of the answer a fixed time after its text.

    `TOKEN` takes the text as it comes instead of looking for the end of a sentence.
    """

    def __init__(self) -> None:
        super().__init__(
            push_start_frame=True,
            push_stop_frames=True,
            text_aggregation_mode=TextAggregationMode.TOKEN,
            sample_rate=w.RATE,
            settings=TTSSettings(model="stub", voice=None, language=None),
        )

    async def run_tts(self, text: str, context_id: str) -> AsyncGenerator[Frame, None]:
        await asyncio.sleep(w.TTS_S)
        yield TTSAudioRawFrame(_REPLY, w.RATE, 1, context_id=context_id)


class Ears(BaseInputTransport):
    """The caller's sound comes in by `push_audio_frame`, as in the websocket transport."""

    async def start(self, frame: StartFrame) -> None:
        await super().start(frame)
        await self.set_transport_ready(frame)


class Mouth(BaseOutputTransport):
    """Sound goes out at up to twice the speed of speech, as in the websocket transport."""

    def __init__(self, params: TransportParams, probe: w.Probe) -> None:
        super().__init__(params)
        self._probe = probe
        self._send_interval = 0.0
        self._send_next = 0.0

    async def start(self, frame: StartFrame) -> None:
        await super().start(frame)
        self._send_interval = self.audio_chunk_size / 2 / self.sample_rate / 2
        await self.set_transport_ready(frame)

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        await super().process_frame(frame, direction)
        if isinstance(frame, InterruptionFrame):
            self._send_next = 0.0

    async def write_audio_frame(self, frame: OutputAudioRawFrame) -> bool:
        self._probe.sound_sent()
        wait = max(0.0, self._send_next - time.monotonic())
        await asyncio.sleep(wait)
        self._send_next = (self._send_next if wait else time.monotonic()) + self._send_interval
        return True


class PipecatCall:
    """One caller in a pipeline and a runner of its own."""

    def __init__(self, setting: str) -> None:
        self.probe = w.Probe()
        params = TransportParams(audio_in_enabled=True, audio_out_enabled=True)
        self._ears = Ears(params)
        lean = setting == "lean"
        vad_params = VADParams(stop_secs=VAD_STOP_S, min_volume=0.0)  # the energy alone decides
        vad = (LeanEnergyVad if lean else EnergyVad)(params=vad_params)
        # The rest of the silence, by the strategy for fixed times: the default's model judges real voices.
        # Voice begins a turn; the default's second strategy, by transcripts, serves where no voice is found.
        turns = UserTurnStrategies(
            start=[VADUserTurnStartStrategy()],
            stop=[SpeechTimeoutUserTurnStopStrategy(user_speech_timeout=w.SILENCE_S - VAD_STOP_S)],
        )
        pair = LLMContextAggregatorPair(
            LLMContext(), user_params=LLMUserAggregatorParams(user_turn_strategies=turns, vad_analyzer=vad)
        )
        pipeline = Pipeline(
            [
                self._ears,
                StubStt(),
                pair.user(),
                StubLlm(),
                StubTts(),
                Mouth(params, self.probe),
                pair.assistant(),
            ]
        )
        # Off: what watches a pipeline without being part of a turn.
        self._worker = PipelineWorker(
            pipeline,
            params=PipelineParams(audio_in_sample_rate=w.RATE, audio_out_sample_rate=w.RATE),
            enable_rtvi=False,
            enable_turn_tracking=False,
            idle_timeout_secs=None,
        )
        self._runner = WorkerRunner(handle_sigint=False)
        self._ready = asyncio.Event()
        self._task: asyncio.Task[Any] | None = None

        self._worker.add_event_handler("on_pipeline_started", self._started)

    async def _started(self, *_: object) -> None:
        self._ready.set()

    async def start(self) -> "PipecatCall":
        await self._runner.add_workers(self._worker)
        self._task = asyncio.create_task(self._runner.run())
        await asyncio.wait_for(self._ready.wait(), 30)
        return self

    async def hear(self, frame: w.Samples) -> None:
        await self._ears.push_audio_frame(InputAudioRawFrame(frame.tobytes(), w.RATE, 1))

    async def close(self) -> None:
        await self._runner.cancel()
        if self._task is not None:
            await asyncio.wait([self._task], timeout=10)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--calls", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--core", type=int, default=0)
    parser.add_argument("--setting", choices=["shipped", "lean"], default="shipped")
    args = parser.parse_args()
    logger.remove()
    logger.add(sys.stderr, level="ERROR")
    w.pin(args.core)
    if args.setting == "lean":  # Pipecat does not do so itself; our server does
        gc.collect()
        gc.freeze()

    async def opener(_: int) -> w.Session:
        return await PipecatCall(args.setting).start()

    side = f"pipecat {args.setting}"
    w.tell(asyncio.run(w.run_step(side, opener, args.calls, args.seconds, UNAVOIDABLE_S)))


if __name__ == "__main__":
    main()
