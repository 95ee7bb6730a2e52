"""Marks are the clock of what was played, and an echo of what was thrown away is no time on it."""

from dataclasses import dataclass, field

from serving.audio import SPEECH_RATE, AudioClip, Samples
from serving.call.live_playout import LivePlayout
from serving.call.scheduler import VirtualScheduler
from tests.serving.call.phone import loud


@dataclass
class SlowLine:
    """A far end that tells of its marks late, also of those that it threw away."""

    transport = "twilio"
    rate = SPEECH_RATE
    marks: list[str] = field(default_factory=list)

    def play(self, samples: Samples) -> None: ...

    def mark(self, name: str) -> None:
        self.marks.append(name)

    def clear(self) -> None: ...

    def tell(self, event: str, data: object) -> None: ...

    def end(self, *, transfer: bool) -> None: ...


@dataclass
class Playing:
    """A playout, and what it told."""

    time: VirtualScheduler = field(default_factory=VirtualScheduler)
    line: SlowLine = field(default_factory=SlowLine)
    began: list[tuple[int, float]] = field(default_factory=list)
    ended: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        def sounded(_start: float, _clip: AudioClip) -> None: ...

        def began(epoch: int, at: float) -> None:
            self.began.append((epoch, at))

        self.playout = LivePlayout(self.line, self.time, ended=self.ended.append, began=began, sent=sounded)


def test_an_echo_of_a_filler_that_was_dropped_is_not_taken_for_the_answer_s_own_mark() -> None:
    playing = Playing()
    playing.playout.begin(7)
    playing.playout.add("One moment.", loud(3.0), spoken=False)
    playing.time.run_until(0.1)
    echoes = list(playing.line.marks)
    assert echoes
    playing.playout.stop()
    playing.playout.begin(7)  # the answer that the filler was for
    playing.playout.add("Yes.", loud(0.3))
    playing.playout.complete()
    for name in echoes:
        playing.playout.marked(name)
    assert (playing.began, playing.ended, playing.playout.heard()) == ([], [], "")
    playing.time.run_until(0.5)
    for name in playing.line.marks:
        playing.playout.marked(name)
    assert (len(playing.began), playing.ended, playing.playout.heard()) == (1, [7], "Yes.")


def test_no_two_marks_of_a_call_have_one_name() -> None:
    playing = Playing()
    for epoch in (1, 1, 2, 2, 3):
        playing.playout.begin(epoch)
        playing.playout.add("A sentence.", loud(0.3))
        playing.playout.complete()
        playing.time.run_until(playing.time.now() + 0.2)
        playing.playout.stop()
    assert len(set(playing.line.marks)) == len(playing.line.marks)
