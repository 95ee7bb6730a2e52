"""The chat page: what a tester clicks and types becomes calls, what calls tell becomes messages and steps.

Only Chainlit's callbacks and its messages live here. What is shown comes from records, which are redacted;
a typed line is replaced by its redacted form as soon as its turn is known.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import chainlit as cl
from chainlit.context import local_steps

from serving.audio import AudioClip
from serving.call.faults import fault
from serving.call.record import CallRecord, TurnRecord
from serving.call.script import CallScript
from serving.errors import EngineError, InvalidInputError, RefusedError, VoicebotError
from serving.scenarios.calls import (
    CallBroken,
    CallOver,
    Event,
    Greeted,
    LineDone,
    ScenarioCall,
    TurnSeen,
    TypedLines,
)
from serving.scenarios.sound import wav_url
from serving.scenarios.view import (
    Checked,
    StepView,
    check,
    decision_line,
    expectations_table,
    plain,
    steps,
    summary,
    whole,
)
from serving.scenarios.workbench import Workbench
from serving.telemetry.redaction import redact

RUN_SCRIPT, CALL, HANG_UP, RETRY = "run_script", "call_the_bot", "hang_up", "try_again"


@dataclass(slots=True)
class _Chat:
    """One browser tab.

    Attributes:
        call: the call in progress.
        lines: where typed lines go; None while a script runs.
        typed: messages whose turn is not known yet, oldest first.
        checked: expectations of the script's lines so far.
        spoken: whether the script is spoken.
        greeting: the call's first message, which has the button to hang up.
        idle: set while no line waits for its answer.
        showing: shows the call's events.
        door: one call at a time is begun.
        gone: the tab was closed.
    """

    events: asyncio.Queue[Event] = field(default_factory=asyncio.Queue)
    call: ScenarioCall | None = None
    script: CallScript | None = None
    lines: TypedLines | None = None
    typed: list[cl.Message] = field(default_factory=list)
    checked: list[Checked] = field(default_factory=list)
    spoken: bool = False
    greeting: cl.Message | None = None
    idle: asyncio.Event = field(default_factory=asyncio.Event)
    showing: asyncio.Task[None] | None = None
    door: asyncio.Lock = field(default_factory=asyncio.Lock)
    gone: bool = False


class ScenarioPage:
    """Chainlit's callbacks; see `serving/scenarios/app.py`."""

    def __init__(self, bench: Workbench) -> None:
        self._bench = bench
        self._chats: dict[str, _Chat] = {}

    async def begin(self) -> None:
        """A tab was opened: open the installation, then offer the scripts."""
        waiting = await cl.Message("Loading the models …").send()
        try:
            runtime = await asyncio.to_thread(self._bench.runtime)
            scripts = await asyncio.to_thread(self._bench.scripts)
        except Exception as error:
            await waiting.remove()
            await _tell_error(error, [cl.Action(name=RETRY, label="Try again", payload={})])
            return
        served = runtime.adapter.current
        engines = "\n".join(
            f"- {plain(f'{item.role}: {item.name} ({item.model})')}" for item in runtime.choices
        )
        bank = plain(runtime.settings.bank_name)
        waiting.content = (
            f"**Scenario testing** of {bank}, adapter {plain(served.version)}.\n\n"
            f"{engines}\n\nPick a script (its title shows when you point at it), or type what a caller says."
        )
        await waiting.update()
        await self._offer(scripts)

    async def message(self, message: cl.Message) -> None:
        """A typed line: the next turn of the call, or the first of a new one."""
        if run := cl.context.current_run:
            run.input = ""  # Chainlit would keep the line as it was typed
        chat = self._chat()
        try:
            if not message.content.strip():
                raise InvalidInputError("The line is empty.", advice="Type what a caller says.")
            async with chat.door:
                if chat.call is None:
                    await self._free_call(chat)
                if chat.lines is None:
                    what = "A script is running." if chat.call else "The call has ended."
                    raise RefusedError(what, advice="Wait for its end, or hang up." if chat.call else "")
                chat.typed.append(message)
                chat.idle.clear()
                chat.lines.add(message.content)
        except Exception as error:
            await _tell_error(error)
            message.content = redact(message.content).text
            await message.update()
            return
        await chat.idle.wait()

    async def run_script(self, action: cl.Action) -> None:
        """A script was picked; it runs to its end, shown as it goes."""
        chat = self._chat()
        spoken = action.payload.get("how") == "spoken"
        try:
            async with chat.door:
                self._refuse_second(chat)
                script = await asyncio.to_thread(self._bench.script, str(action.payload.get("script", "")))
                caller = await asyncio.to_thread(lambda: self._bench.caller(script, spoken=spoken))
                how = "spoken by a synthetic caller" if spoken else "typed"
                await _said_by_tester(f"Run the script {script.id}, {how}: {script.title}")
                chat.spoken = spoken
                await self._open(
                    chat, lambda tell: self._bench.call(caller, tell, script=script.id), script=script
                )
        except Exception as error:
            await _tell_error(error)

    async def call_the_bot(self, _action: cl.Action) -> None:
        """The tester calls: the bot greets, and typed lines follow."""
        chat = self._chat()
        try:
            async with chat.door:
                self._refuse_second(chat)
                await _said_by_tester("Call the bot")
                await self._free_call(chat)
        except Exception as error:
            await _tell_error(error)

    async def hang_up(self, _action: cl.Action | None = None) -> None:
        """End the call in progress, after its present turn."""
        if call := self._chat().call:
            await asyncio.to_thread(call.hang_up)

    async def try_again(self, action: cl.Action) -> None:
        """The installation could not be opened before."""
        await action.remove()
        await self.begin()

    async def leave(self) -> None:
        """The tab was closed, or lost its connection: its call ends."""
        chat = self._chats.pop(cl.context.session.id, None)
        if chat is not None:
            chat.gone = True
            if chat.call is not None:
                chat.call.hang_up()

    # Calls

    async def _free_call(self, chat: _Chat) -> None:
        from serving.transports.files import TextCaller

        lines = TypedLines()
        await self._open(
            chat,
            lambda tell: self._bench.call(TextCaller(lines), tell, end_input=lines.end),
            lines=lines,
        )

    async def _open(
        self,
        chat: _Chat,
        begin: Callable[[Callable[[Event], None]], ScenarioCall],
        *,
        script: CallScript | None = None,
        lines: TypedLines | None = None,
    ) -> None:
        loop, events = asyncio.get_running_loop(), asyncio.Queue[Event]()
        chat.events, chat.script, chat.lines, chat.checked, chat.typed = events, script, lines, [], []
        chat.greeting = None
        chat.idle.clear()
        chat.call = await asyncio.to_thread(
            begin, lambda event: _from_thread(loop, lambda: events.put_nowait(event))
        )
        if chat.gone:
            chat.call.hang_up()
        chat.showing = asyncio.create_task(self._show(chat, chat.call))
        if lines is not None:
            await chat.idle.wait()

    async def _show(self, chat: _Chat, call: ScenarioCall) -> None:
        """Show a call's events until its last; nobody else writes of this call."""
        local_steps.set(None)  # not below the message or the click that began the call
        try:
            while True:
                event = await chat.events.get()
                if isinstance(event, CallOver | CallBroken):
                    return await self._end(chat, event)
                await self._show_event(chat, event)
        except Exception as error:  # a call that nobody can follow is ended
            call.hang_up()
            await _tell_error(error)
        finally:
            chat.call = chat.lines = None
            chat.idle.set()

    async def _show_event(self, chat: _Chat, event: Event) -> None:
        if isinstance(event, Greeted):
            button = cl.Action(name=HANG_UP, label="Hang up", payload={})
            chat.greeting = await _bot(plain(event.words), event.sound, actions=[button])
            if chat.lines is not None:
                chat.idle.set()
        elif isinstance(event, TurnSeen):
            await self._show_turn(chat, event)
        elif isinstance(event, LineDone):
            chat.idle.set()

    async def _show_turn(self, chat: _Chat, seen: TurnSeen) -> None:
        turn = seen.turn
        if chat.typed:
            message = chat.typed.pop(0)
            message.content = turn.text
            await message.update()
        else:
            sounds = _sounds("caller", turn, seen.caller)
            await cl.Message(turn.text or "…", author="Caller", type="user_message", elements=sounds).send()
        for step in steps(turn):
            await _step(step)
        await _bot(f"{plain(turn.answer)}\n\n{decision_line(turn)}", seen.bot, turn)
        if chat.script is not None and seen.line < len(chat.script.turns):
            line = chat.script.turns[seen.line]
            chat.checked.append(check(turn, seen.line + 1, line, spoken=chat.spoken))

    async def _end(self, chat: _Chat, event: CallOver | CallBroken) -> None:
        if chat.greeting is not None:
            await chat.greeting.remove_actions()
        if isinstance(event, CallBroken):
            await _tell_error(event.error)
        await self._sum_up(chat, event.call)
        await self._offer(await asyncio.to_thread(self._bench.scripts))

    async def _sum_up(self, chat: _Chat, call: CallRecord) -> None:
        if chat.script is not None:
            every = whole(chat.script, chat.checked, spoken=chat.spoken)
            await cl.Message(expectations_table(every), author="Expectations").send()
        await cl.Message(summary(call), author="Summary").send()

    # Around calls

    async def _offer(self, scripts: list[CallScript]) -> None:
        for how in ("spoken", "typed"):
            actions = [
                cl.Action(
                    name=RUN_SCRIPT,
                    label=script.id,
                    tooltip=f"{script.title} ({how})",
                    payload={"script": script.id, "how": how},
                )
                for script in scripts
            ]
            await cl.Message(f"Run a script, {how}:", actions=actions).send()
        call = cl.Action(name=CALL, label="Call the bot", payload={})
        await cl.Message("Or call yourself, and type:", actions=[call]).send()

    def _chat(self) -> _Chat:
        return self._chats.setdefault(cl.context.session.id, _Chat())

    def _refuse_second(self, chat: _Chat) -> None:
        if chat.call is not None:
            raise RefusedError("A call is in progress.", advice="Wait for its end, or hang up.")


def _from_thread(loop: asyncio.AbstractEventLoop, act: Callable[[], None]) -> None:
    """Do something on the loop; nothing where the loop is gone, as a call ends also without a page."""
    try:
        loop.call_soon_threadsafe(act)
    except RuntimeError:
        return


async def _said_by_tester(text: str) -> None:
    """A line of the tester's own, so that a click scrolls the page as typing does."""
    await cl.Message(text, author="Tester", type="user_message").send()


async def _bot(
    text: str,
    sound: AudioClip | None,
    turn: TurnRecord | None = None,
    actions: list[cl.Action] | None = None,
) -> cl.Message:
    message = cl.Message(text, author="Bot", elements=_sounds("bot", turn, sound), actions=actions or [])
    await message.send()
    return message


def _sounds(who: str, turn: TurnRecord | None, sound: AudioClip | None) -> list[Any]:
    if sound is None:
        return []
    name = f"{who}, {f'turn {turn.index}' if turn else 'greeting'}, {sound.seconds:.1f} s"
    return [cl.Audio(name=name, url=wav_url(sound), mime="audio/wav")]


async def _step(view: StepView) -> None:
    step = cl.Step(name=view.title, type=view.kind)
    end = datetime.now(UTC).replace(tzinfo=None)
    step.start = f"{(end - timedelta(seconds=view.seconds or 0.0)).isoformat()}Z"
    step.end = f"{end.isoformat()}Z"
    step.input, step.output = dict(view.given), dict(view.result)
    step.is_error = view.failed
    await step.send()


async def _tell_error(error: Exception, actions: list[cl.Action] | None = None) -> None:
    """What went wrong and what to do; of a bug only its kind and place, as its message may quote a caller."""
    if not isinstance(error, VoicebotError):
        error = EngineError(
            f"Something broke ({fault('scenario', error)}).", advice="The server's log has more."
        )
    text = f"**{plain(error.message)}**\n\n{plain(error.advice)}".strip()
    await cl.Message(text, author="Error", actions=actions or []).send()
