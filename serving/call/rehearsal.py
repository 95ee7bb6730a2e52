"""Opens calls that leave no trace, for replays: today's knowledge, adapter and engines, nothing outside."""

from dataclasses import replace

from serving.call.book import CallBook
from serving.call.line import Line
from serving.call.live import LiveCall
from serving.call.live_parts import Parts, turn_policy
from serving.call.ports import Journal
from serving.call.record import CallRecord
from serving.call.recording import Recording
from serving.call.replay import LIVE, NoRecords, Retold, like
from serving.call.responder import Responder
from serving.call.runtime import Runtime
from serving.call.scheduler import VirtualScheduler
from serving.speech.paced_tts import PacedTts
from serving.speech.speech_cache import SpeechCache


class Rehearsal:
    """Calls of an installation that touch nothing; implements `serving.call.replay.Opens`.

    Args:
        runtime: opened; with a voice where sound is to be heard anew.
    """

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    def open_replay(
        self, call: CallRecord, line: Line, scheduler: VirtualScheduler, retold: Retold
    ) -> LiveCall:
        """See `Opens.open_replay`.

        Raises:
            InvalidInputError: sound is to be heard, and the runtime was opened without a voice.
        """
        runtime = self._runtime
        served, engine = runtime.adapter.current, runtime.dialogue.current
        scope = runtime.scope(served, engine)
        tts = runtime.engines.tts or PacedTts()
        spoken = call.engines.get("tts", "text") != "text"
        opening = runtime.opening(voice=spoken, recorded=call.recording is not None)
        box = replace(runtime.box, llm=engine.llm)
        if box.banking is not None:
            tools = retold.tools(box.banking.executor.schemas)
            box = replace(box, banking=replace(box.banking, executor=tools))
        live = call.transport in LIVE
        policy = turn_policy(runtime.settings, runtime.turn_taking, opening=opening)
        parts = Parts(
            retold.ears(runtime.ears),
            tts,
            runtime.kept or SpeechCache(tts),
            policy if live else replace(policy, idle_s=None, filler_s=None),  # that caller waits for the bot
            lambda _snapshot: None,
            lambda _call: None,
            runtime.settings.longest_call_s,
        )
        journal = Journal(NoRecords(), runtime.settings.home / "unsaved")
        book = CallBook(like(call, served.version, scope.key), journal, runtime.settings.max_turn_chars)
        responder = retold.responding(
            Responder(box, served.tagger, scope, opening, ask_survey=live and runtime.settings.ask_survey)
        )
        return LiveCall(responder, parts, book, Recording(wanted=False), line, scheduler)
