"""The whole circle once, in one process and one Prefect start-up: what `make demo` runs.

Train → promote → serving picks it up → build the cache → a spoken call → evaluate its speech → KPIs. It ends
with one table and the commands to look further. Everything it shows comes from flows, records and reports
that stay in this home.
"""

import time
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING

from prefect import flow, task
from prefect.cache_policies import NO_CACHE

from flows.build_cache_index import CacheOutcome, build_cache_index
from flows.evaluate_speech import SpeechOutcome, evaluate_speech
from flows.promote_adapter import PromotionOutcome, promote_adapter
from flows.report_kpis import KpiOutcome, report_kpis
from flows.train_adapter import TrainOutcome, train_adapter
from serving.call.ports import CallObserver
from serving.call.record import CallRecord
from serving.call.runtime import Runtime
from serving.call.script import load_script, load_scripts
from serving.cli.console import print_table
from serving.cli.turn_view import ConsoleObserver
from serving.errors import EngineError, MissingError
from serving.settings import Settings
from serving.speech.engines import caller_tts
from serving.transports.scripted import ScriptCaller

if TYPE_CHECKING:
    from rich.console import Console

SPOKEN_SCRIPT = "demo"
PICK_UP_LIMIT_S = 10.0
"""A server looks every second; ten times that is a fault."""
MOS_CLIPS = 10


@dataclass(frozen=True, slots=True)
class CircleOutcome:
    """Everything that the demo's table shows."""

    trained: TrainOutcome
    promoted: PromotionOutcome
    picked_up_s: float
    cache: CacheOutcome
    call: CallRecord
    speech: SpeechOutcome
    kpis: KpiOutcome


def run_demo(settings: Settings, console: "Console") -> None:
    """Run the circle and print its table."""
    started = time.monotonic()
    outcome = _circle(settings, console)
    _print_table(outcome, time.monotonic() - started)
    _print_next(settings, outcome, console)


def _circle(settings: Settings, console: "Console") -> CircleOutcome:
    """One parent flow, so that Prefect starts once and shows the stations as its children."""
    speech_runtime: list[Runtime] = []

    @task(cache_policy=NO_CACHE, name="take-call")
    def take_call(script: str, *, typed: bool) -> CallRecord:
        observers = (ConsoleObserver(console),) if not typed else ()
        return _take_call(speech_runtime[0], script, typed=typed, observers=observers)

    @flow(name="demo")
    def circle() -> CircleOutcome:
        console.print("\n1  train-adapter", style="bold")
        trained = train_adapter()
        running = _running(settings)
        console.print("\n2  promote-adapter", style="bold")
        promoted = promote_adapter()
        runtime, seconds = _pick_up(settings, running, f"{promoted.name}/{promoted.version}")
        console.print(
            f"    serving answers with {promoted.name}/{promoted.version} after {seconds:.1f} s", style="dim"
        )
        speech_runtime.append(runtime)
        try:
            console.print("\n3  build-cache-index", style="bold")
            cache = build_cache_index()
            console.print(f"\n4  a spoken call (script {SPOKEN_SCRIPT!r})", style="bold")
            for choice in runtime.choices:
                console.print(
                    f"    {choice.role}: {choice.name}. {choice.reason}", style="dim", highlight=False
                )
            console.print()
            call = take_call(SPOKEN_SCRIPT, typed=False)
            others = [
                script.id for script in load_scripts(settings.data / "calls") if script.id != SPOKEN_SCRIPT
            ]
            for name in others:
                take_call(name, typed=True)
            console.print(
                f"and {len(others)} further scripts, typed, for the KPIs", style="dim", highlight=False
            )
        finally:
            runtime.close()
        console.print("\n5  evaluate-speech", style="bold")
        speech = evaluate_speech(max_clips=MOS_CLIPS)
        console.print("\n6  report-kpis", style="bold")
        kpis = report_kpis()
        return CircleOutcome(trained, promoted, seconds, cache, call, speech, kpis)

    return circle()


def _take_call(
    runtime: Runtime, name: str, *, typed: bool, observers: tuple[CallObserver, ...]
) -> CallRecord:
    """One scripted call by a caller of its own."""
    script = load_script(runtime.settings.data / "calls", name)
    caller = ScriptCaller(script, None if typed else caller_tts(runtime.settings))
    session = runtime.open_call(
        caller.transport,
        script=name,
        caller_id=f"synthetic-{uuid.uuid4().hex}",
        observers=observers,
        typed=typed,
    )
    return session.run(caller)


def _running(settings: Settings) -> Runtime | None:
    """A serving process that is up before the promotion; None where no adapter ever was promoted."""
    runtime = Runtime(settings, voice=True)
    try:
        runtime.start()
    except MissingError:
        runtime.close()
        return None
    return runtime


def _pick_up(settings: Settings, running: Runtime | None, version: str) -> tuple[Runtime, float]:
    """Wait until serving answers with the promoted version; how long that took, in seconds."""
    started = time.monotonic()
    runtime = running or Runtime(settings, voice=True)
    if running is None:
        runtime.start()
    while runtime.adapter.current.version != version:
        if time.monotonic() - started > PICK_UP_LIMIT_S:
            raise EngineError(f"Serving did not pick up {version} within {PICK_UP_LIMIT_S:.0f} s.")
        time.sleep(0.02)
    return runtime, time.monotonic() - started


def _print_table(outcome: CircleOutcome, seconds: float) -> None:
    trained, speech, kpis = outcome.trained, outcome.speech, outcome.kpis
    hit_rate = kpis.figures.get("hit_rate")
    rows = [
        ("Trained", f"{trained.name}/{trained.version}: {trained.texts:,} texts, {trained.labels} intents, "
                    f"{trained.trained_parameters:,} parameters in {trained.seconds:.0f} s"),
        ("Accuracy", f"{trained.accuracy:.1%} [{trained.accuracy_low:.1%}, {trained.accuracy_high:.1%}] "
                     f"on {trained.split}; "
                     f"frozen baseline {trained.baseline:.1%}"),
        ("Gate", f"{outcome.promoted.gate}; champion before: {outcome.promoted.champion_before or 'none'}"),
        ("Cache", f"{outcome.cache.entries} questions; hit rate {_percent(hit_rate)} of eligible lookups"),
        ("Typed turns", _milliseconds(kpis.typed_ms)),
        ("Voice to voice", _milliseconds(kpis.spoken_ms)),
        ("WER", speech.wer_line),
        ("Predicted MOS", speech.mos_line),
        ("Time", f"{seconds:.0f} s"),
    ]  # fmt: skip
    print_table("The circle", ["", "result"], rows)


def _print_next(settings: Settings, outcome: CircleOutcome, console: "Console") -> None:
    lines = [
        ("KPI page", str(outcome.kpis.page)),
        ("Recording", outcome.call.recording or "none"),
        ("MLflow UI", f"mlflow server --backend-store-uri {settings.mlflow_uri} --port 5000"),
        ("Prefect UI", f"PREFECT_HOME={settings.home / 'prefect'} prefect server start"),
        ("Adapters", "adapter-control list"),
        ("Talk to it", "start-call --text"),
    ]
    console.print("To look further:", style="bold")
    for label, text in lines:
        console.print(f"  {label:<11} {text}", markup=False, highlight=False, soft_wrap=True)


def _milliseconds(pair: tuple[float, float] | None) -> str:
    return "none" if pair is None else f"p50 {pair[0]:.0f} ms, p95 {pair[1]:.0f} ms"


def _percent(value: float | None) -> str:
    return "not measured" if value is None else f"{value:.0%}"
