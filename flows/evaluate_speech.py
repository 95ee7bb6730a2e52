"""Flow evaluate-speech: WER of the recorded scripted calls, round trip over all scripts, predicted MOS.

    python -m flows.evaluate_speech

References are what the scripts say; hypotheses are what the calls really heard, from their records. The bot's
own sound comes out of the stereo recordings.
"""

from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from prefect import flow, task
from prefect.artifacts import create_markdown_artifact
from prefect.cache_policies import NO_CACHE

from flows.progress import report
from flows.tracking import Experiment, tracked_run
from serving.errors import InvalidInputError, MissingError
from serving.plain import plain
from serving.settings import Settings

if TYPE_CHECKING:
    from evaluation.wer import WerReport
    from serving.call.record import CallRecord
    from serving.call.script import CallScript

RECENT_CALLS = 50
"""Newest calls of the kind in question that are evaluated."""
SPOKEN = "script"
"""Transport of calls whose caller was spoken from a script."""
UNUSABLE = "recordings that are gone or cannot be read"


@dataclass(frozen=True, slots=True)
class WerFigure:
    """A WER with what it was measured on.

    Attributes:
        what: in words.
        low: of the 95 % interval.
        entity_errors: share of amounts, rates, terms and dates that were not heard right; None without any.
        normaliser: name and hash of the rules applied before counting.
    """

    what: str
    wer: float
    low: float
    high: float
    words: int
    utterances: int
    entity_errors: float | None
    resampled_by: str
    normaliser: str

    def __str__(self) -> str:
        return f"{self.wer:.1%} [{self.low:.1%}, {self.high:.1%}] {self.what} ({self.words} words)"


@dataclass(frozen=True, slots=True)
class MosFigure:
    """Predicted quality of the bot's speech: it hears noise and distortion, not naturalness.

    Attributes:
        overall: DNSMOS OVRL, 1 to 5.
        p808: DNSMOS P.808, 1 to 5.
    """

    overall: float
    low: float
    high: float
    p808: float
    clips: int
    label: str


@dataclass(frozen=True, slots=True)
class SpeechOutcome:
    """What the flow leaves; None where there was nothing to measure.

    Attributes:
        left_out: what could not be compared or scored, in words, and how many of it.
    """

    calls: WerFigure | None
    clean: WerFigure | None
    round_trip: WerFigure | None
    mos: MosFigure | None
    left_out: Mapping[str, int] = field(default_factory=dict)

    @property
    def wer_line(self) -> str:
        """WER figures as one cell of a table."""
        found = [str(figure) for figure in (self.calls, self.clean, self.round_trip) if figure]
        found = found or ["no spoken scripted call to compare is recorded"]
        return "\n".join([*found, *(f"left out: {count} {what}" for what, count in self.left_out.items())])

    @property
    def mos_line(self) -> str:
        """Predicted MOS as one cell of a table."""
        if self.mos is None:
            return "no recording to score"
        mos = self.mos
        interval = f"[{mos.low:.2f}, {mos.high:.2f}]"
        return f"OVRL {mos.overall:.2f} {interval}, P.808 {mos.p808:.2f} ({mos.clips} clips; {mos.label})"


@task(cache_policy=NO_CACHE)
def score_calls(*, clean_only: bool) -> tuple[WerFigure | None, dict[str, int]]:
    """WER of what recorded scripted calls heard, and what could not be compared."""
    from evaluation.scripted_calls import align
    from evaluation.wer import score

    settings = Settings.load()
    calls = newest_calls(settings, lambda call: call.transport == SPOKEN)
    found = align(calls, _scripts(settings, calls), clean_only=clean_only)
    if not found.utterances:
        return None, dict(found.left_out)
    which = "clean lines of " if clean_only else ""
    what = f"on {which}{found.calls} recorded calls by {found.scripts} scripts"
    report("WER", 1, 1, what)
    return _figure(score(found.utterances, unit=found.unit), what), dict(found.left_out)


@task(cache_policy=NO_CACHE)
def score_round_trip() -> WerFigure:
    """Speak every clean line of the scripts and recognise it; no language model has seen them."""
    from evaluation.speech_benchmark import speak_and_hear
    from evaluation.wer import score
    from serving.call.script import load_scripts
    from serving.speech.engines import caller_tts, choose_stt

    settings = Settings.load()
    scripts = load_scripts(settings.data / "calls")
    voice, engine = caller_tts(settings), choose_stt(settings).engine
    heard = []
    for done, script in enumerate(scripts, start=1):
        lines = [turn.say for turn in script.turns if turn.noise_snr_db is None]
        heard += speak_and_hear({script.id: lines}, voice, engine)
        report("round trip", done, len(scripts), f"{len(heard)} lines")
    return _figure(score(heard), "round trip over the clean lines of all scripts")


@task(cache_policy=NO_CACHE)
def score_mos(max_clips: int) -> tuple[MosFigure | None, dict[str, int]]:
    """Predicted MOS of the bot's sentences in the newest recordings, and what could not be scored."""
    from evaluation.mos import predict_mos
    from serving.audio import AudioClip, read_wav_channels
    from serving.call.recording import spoken_pieces

    clips: list[AudioClip] = []
    unusable = 0
    for call in reversed(newest_calls(Settings.load(), lambda call: call.recording is not None)):
        if len(clips) >= max_clips:
            break
        try:
            channels = read_wav_channels(Path(call.recording or ""))
        except InvalidInputError:  # removed, cut off or overwritten since
            unusable += 1
            continue
        if len(channels) < 2:
            unusable += 1
            continue
        clips += spoken_pieces(channels[1])
    left_out = {UNUSABLE: unusable} if unusable else {}
    if not clips:
        return None, left_out
    found = predict_mos(clips, max_clips=max_clips)
    report("MOS", found.scored, found.scored, f"{found.scored} clips")
    overall = found.overall
    return MosFigure(
        overall.estimate, overall.low, overall.high, found.p808.estimate, found.scored, found.label
    ), left_out


@task(cache_policy=NO_CACHE)
def log_speech(outcome: SpeechOutcome) -> None:
    """Log the figures as an MLflow run."""
    with tracked_run(Settings.load(), Experiment.SPEECH, "evaluate-speech") as run:
        for name, figure in asdict(outcome).items():
            if name != "left_out" and figure is not None:
                numbers = {key: value for key, value in figure.items() if isinstance(value, int | float)}
                run.log_metrics({f"{name}.{key}": value for key, value in numbers.items()})
        run.log_json("speech.json", plain(outcome))


@flow(name="evaluate-speech")
def evaluate_speech(max_clips: int = 10, round_trip: bool = True) -> SpeechOutcome:
    """Evaluate what the calls heard and how the bot sounded.

    Args:
        max_clips: most clips to score for MOS; scoring one takes a few seconds.
        round_trip: also speak and recognise the clean lines of all scripts.
    """
    calls, uncompared = score_calls(clean_only=False)
    clean, not_clean = score_calls(clean_only=True)
    mos, unheard = score_mos(max_clips)
    outcome = SpeechOutcome(
        calls=calls,
        clean=clean,
        round_trip=score_round_trip() if round_trip else None,
        mos=mos,
        left_out=uncompared | not_clean | unheard,
    )
    log_speech(outcome)
    create_markdown_artifact(
        f"WER\n\n{outcome.wer_line}\n\nPredicted MOS\n\n{outcome.mos_line}", key="speech"
    )
    return outcome


def newest_calls(settings: Settings, wanted: "Callable[[CallRecord], bool]") -> "list[CallRecord]":
    """The newest `RECENT_CALLS` calls that are wanted, oldest first, however many others lie between them."""
    from serving.call.store import CallStore

    store = CallStore(settings.records_url)
    limit = RECENT_CALLS
    while True:
        calls = store.calls(limit=limit)
        found = [call for call in calls if wanted(call)]
        if len(found) >= RECENT_CALLS or len(calls) < limit:
            return found[-RECENT_CALLS:]
        limit *= 4


def _scripts(settings: Settings, calls: "Iterable[CallRecord]") -> "dict[str, CallScript]":
    """The scripts of calls that are still there and can be read, by id."""
    from serving.call.script import load_script

    found = {}
    for name in sorted({call.script for call in calls}):
        with suppress(MissingError, InvalidInputError):
            found[name] = load_script(settings.data / "calls", name)
    return found


def wer_of_folder(settings: Settings, clips: Path, transcripts: Path, lm_text: Path | None) -> WerFigure:
    """WER of recordings: through the configured engine, or pocketsphinx with an n-gram of `lm_text`."""
    from evaluation.speech_benchmark import wer_of_clips
    from serving.speech.engines import choose_stt

    stt = choose_stt(settings).engine if lm_text is None else None
    found = wer_of_clips(clips, transcripts, models=settings.home / "lm", lm_text=lm_text, stt=stt)
    return _figure(found, f"on {found.utterances} recordings in {clips.name}")


def _figure(found: "WerReport", what: str) -> WerFigure:
    """The numbers of a `WerReport` that people ask for."""
    entities = found.entities.error_rate
    return WerFigure(
        what=what,
        wer=found.wer.estimate,
        low=found.wer.low,
        high=found.wer.high,
        words=found.words,
        utterances=found.utterances,
        entity_errors=entities.estimate if entities else None,
        resampled_by=found.resampled_by,
        normaliser=found.normaliser,
    )


if __name__ == "__main__":
    from flows.environment import run_command

    run_command("evaluate-speech")
