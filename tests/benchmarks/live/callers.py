"""Callers of measured calls: they talk in real time, interrupt, fall silent, type, press keys and hang up.

What a caller does next is drawn from a seed, so a run can be had again; what happens then is up to the
machine, as on a real line.
"""

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from serving.audio import Samples
from serving.call.line import LineEvents
from tests.benchmarks.live import workload as w
from tests.benchmarks.live.engines import PHRASES, ToneLine, said

PATIENCE_S = 12.0
"""How long a caller waits for the bot to begin or to end, seconds."""
_QUESTIONS = tuple(words for words in PHRASES if words not in ("okay", "mm-hm", "thank you bye"))
_SILENT = np.zeros(w.FRAME, np.int16)


class Act(StrEnum):
    """Something that a caller does."""

    ASK = "ask"
    """Says something when the bot is silent."""
    INTERRUPT = "interrupt"
    """Says something while the bot speaks."""
    NOD = "nod"
    """"okay" while the bot speaks."""
    BE_SILENT = "be silent"
    TYPE = "type"
    PRESS = "press"
    LEAVE = "leave"
    """Hangs up at any moment: while speaking, waiting or listening."""
    GOODBYE = "goodbye"


_DRAWN = (
    Act.ASK,
    Act.ASK,
    Act.ASK,
    Act.INTERRUPT,
    Act.INTERRUPT,
    Act.NOD,
    Act.BE_SILENT,
    Act.TYPE,
    Act.PRESS,
)
_LAST = (Act.LEAVE, Act.GOODBYE, Act.BE_SILENT)


@dataclass(slots=True)
class Caller:
    """One caller of one call.

    Args:
        call: started already.
        line: the call's.
        ended: whether the bot has ended the call.
        draw: of this caller alone.
    """

    call: LineEvents
    line: ToneLine
    ended: Callable[[], bool]
    draw: random.Random
    _due: float = 0.0

    async def live(self) -> None:
        """Carry the call through and hang up."""
        self._due = asyncio.get_running_loop().time()
        plan = [self.draw.choice(_DRAWN) for _ in range(self.draw.randint(1, 6))]
        for act in [*plan, self.draw.choice(_LAST)]:
            if self.ended():
                break
            await self._do(act)
        self.call.gone()

    async def _do(self, act: Act) -> None:
        if act is Act.ASK:
            await self._quiet()
            await self._say(self.draw.choice(_QUESTIONS), self.draw.uniform(0.4, 1.6))
            await self._answered()
        elif act is Act.INTERRUPT:
            await self._say(self.draw.choice(_QUESTIONS), self.draw.uniform(0.3, 1.2))
            await self._answered()
            await self._pause(self.draw.uniform(0.0, 0.8))
            await self._say(self.draw.choice(_QUESTIONS), self.draw.uniform(0.8, 1.6))
            await self._answered()
        elif act is Act.NOD:
            await self._say(self.draw.choice(_QUESTIONS), 0.8)
            await self._answered()
            await self._say(self.draw.choice(("okay", "mm-hm")), 0.4)
        elif act is Act.TYPE:
            self.call.typed(self.draw.choice(_QUESTIONS))
            await self._answered()
        elif act is Act.PRESS:
            self.call.digit(self.draw.choice("0123456789*#"))
            await self._pause(self.draw.uniform(0.1, 1.0))
        elif act is Act.BE_SILENT:
            await self._pause(self.draw.uniform(1.0, 12.0))
        elif act is Act.LEAVE:
            await self._say(self.draw.choice(_QUESTIONS), self.draw.uniform(0.1, 0.8))
            await self._pause(self.draw.uniform(0.0, 2.0))
        else:
            await self._quiet()
            await self._say("thank you bye", 0.5)
            await self._until(self.ended)

    async def _say(self, words: str, seconds: float) -> None:
        sound = said(words, seconds)
        for start in range(0, len(sound) - w.FRAME + 1, w.FRAME):
            await self._frame(sound[start : start + w.FRAME])

    async def _pause(self, seconds: float) -> None:
        for _ in range(round(seconds / w.FRAME_S)):
            await self._frame(_SILENT)

    async def _answered(self) -> None:
        """Wait until the bot speaks; a bot that speaks already has first to fall silent or be cut off."""
        await self._pause(0.3)
        await self._until(lambda: self._speaking)

    async def _quiet(self) -> None:
        await self._until(lambda: not self._speaking)

    @property
    def _speaking(self) -> bool:
        return self.line.playing_until > asyncio.get_running_loop().time()

    async def _until(self, come: Callable[[], bool]) -> None:
        for _ in range(round(PATIENCE_S / w.FRAME_S)):
            if come() or self.ended():
                return
            await self._frame(_SILENT)

    async def _frame(self, samples: Samples) -> None:
        self._due += w.FRAME_S
        loop = asyncio.get_running_loop()
        await asyncio.sleep(max(0.0, self._due - loop.time()))
        if not self.ended():
            self.call.sound(samples)
