"""What all pages of one process share: the installation, opened once, and the calls in progress."""

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from serving.call.script import CallScript, load_script, load_scripts
from serving.errors import UnavailableError

if TYPE_CHECKING:
    from serving.call.caller import Caller
    from serving.call.runtime import Runtime
    from serving.scenarios.calls import Event, ScenarioCall
    from serving.settings import Settings

MOST_CALLS = 10
"""Calls in progress at a time; each keeps a thread, and those with a voice wait for each other's turns."""
GOODBYE_S = 10.0
"""How long the turns in progress may take when the server stops, seconds; their calls are recorded then."""


def configured() -> "Settings":
    """The settings of this process, with its logs sent where they say.

    Raises:
        VoicebotError: a setting is wrong, or the log cannot be written.
    """
    from serving.settings import Settings
    from serving.telemetry.logs import configure_logs

    settings = Settings.load()
    configure_logs(settings)
    return settings


class Workbench:
    """Opens the runtime when it is first needed, and ends what is open at last.

    An installation that cannot be opened yet (no adapter, a model that is missing) is tried again the next
    time: whoever tests need not restart the server.

    Args:
        settings: reads the installation's settings, each time that it is opened.
    """

    def __init__(self, settings: Callable[[], "Settings"] = configured) -> None:
        self._settings = settings
        self._opening = threading.Lock()
        self._runtime: Runtime | None = None
        self._calls: list[ScenarioCall] = []
        self._closed = False

    def runtime(self) -> "Runtime":
        """The installation, opened with voice; slow the first time.

        Raises:
            VoicebotError: it cannot be opened; the message says what to do.
        """
        from serving.call.runtime import Runtime

        with self._opening:
            if self._runtime is None:
                runtime = Runtime(self._settings(), voice=True)
                try:
                    self._runtime = runtime.start()
                except BaseException:
                    runtime.close()
                    raise
            return self._runtime

    def scripts(self) -> list[CallScript]:
        """All scripts of the data folder.

        Raises:
            InvalidInputError: one of them cannot be read.
            VoicebotError: the installation cannot be opened.
        """
        return load_scripts(self.runtime().settings.data / "calls")

    def script(self, name: str) -> CallScript:
        """One script.

        Raises:
            MissingError: there is none of that name.
            InvalidInputError: it cannot be read.
            VoicebotError: the installation cannot be opened.
        """
        return load_script(self.runtime().settings.data / "calls", name)

    def caller(self, script: CallScript, *, spoken: bool) -> "Caller":
        """A caller who follows a script, in a synthetic voice or in writing.

        Raises:
            InvalidInputError: the caller's voice is not to be had.
        """
        from serving.speech.engines import caller_tts
        from serving.transports.scripted import ScriptCaller

        return ScriptCaller(script, caller_tts(self.runtime().settings) if spoken else None)

    def call(
        self,
        caller: "Caller",
        tell: Callable[["Event"], None],
        *,
        script: str = "",
        end_input: Callable[[], None] = lambda: None,
    ) -> "ScenarioCall":
        """Begin a call; the bot speaks, whether the caller does or types.

        Raises:
            UnavailableError: as many calls as may be are in progress, or the server stops.
            VoicebotError: the installation cannot be opened.
        """
        from serving.scenarios.calls import ScenarioCall

        runtime = self.runtime()
        with self._opening:
            self._calls = [call for call in self._calls if not call.wait(0.0)]
            if self._closed:
                raise UnavailableError("Scenario testing is being closed.")
            if len(self._calls) >= MOST_CALLS:
                raise UnavailableError(
                    f"{MOST_CALLS} calls are in progress.", advice="Hang one of them up, then try again."
                )
            call = ScenarioCall(runtime, caller, tell, script=script, end_input=end_input)
            call.start()
            self._calls.append(call)
        return call

    def close(self) -> None:
        """Hang up every call, then close the installation."""
        with self._opening:
            self._closed = True
            calls, self._calls = self._calls, []
        for call in calls:
            call.hang_up()
        for call in calls:
            call.wait(GOODBYE_S / max(1, len(calls)))
        if self._runtime is not None:
            self._runtime.close()
