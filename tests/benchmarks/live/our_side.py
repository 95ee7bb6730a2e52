"""Our side of the live benchmark: `python -m tests.benchmarks.live.our_side --calls 10`.

The live call as a server runs it, in one process on one core, with the stub engines of the workload: ears,
turn machine, ledger of what was heard, redaction, call and turn records in SQLite (`--records none` leaves
the database out). Nothing is recorded as sound, and no sentence is spoken from memory: the voice is asked
every time.
"""

import argparse
import asyncio
import sys
import tempfile
from pathlib import Path

from loguru import logger

from serving.call.live import LiveCall
from serving.call.replay import NoRecords
from serving.call.scheduler import favour_the_loop, freeze_what_is_loaded
from serving.call.store import CallStore
from serving.settings import Settings
from tests.benchmarks.live import workload as w
from tests.benchmarks.live.engines import ToneLine
from tests.benchmarks.live.rig import Rig

UNAVOIDABLE_S = w.SILENCE_S + w.LLM_S + w.TTS_S
"""The recogniser is asked for the final text when the turn is over."""


class OurCall:
    """One caller on a line in this process."""

    def __init__(self, rig: Rig) -> None:
        self.probe = w.Probe()
        self._call: LiveCall = rig.open(ToneLine(asyncio.get_running_loop(), on_sound=self.probe.sound_sent))

    def hear(self, frame: w.Samples) -> None:
        self._call.sound(frame)

    async def close(self) -> None:
        self._call.gone()


async def measure(calls: int, seconds: float, folder: Path, *, records: bool) -> w.Step:
    """One step in a new installation under `folder`."""
    settings = Settings(
        home=folder / "var",
        mlruns=folder / "mlruns",
        end_of_turn_silence_s=w.SILENCE_S,
        keep_recordings=False,
    )
    store = CallStore(settings.records_url) if records else None
    with Rig(settings, store or NoRecords()) as rig:
        freeze_what_is_loaded()  # as the server does before its first call

        async def opener(_: int) -> w.Session:
            return OurCall(rig)

        step = await w.run_step("ours", opener, calls, seconds, UNAVOIDABLE_S)
        await rig.all_closed()
    if store is not None:
        store.close()
    return step


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--calls", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--core", type=int, default=0)
    parser.add_argument("--records", choices=["sqlite", "none"], default="sqlite")
    args = parser.parse_args()
    logger.remove()
    logger.add(sys.stderr, level="ERROR")
    w.pin(args.core)
    favour_the_loop()
    with tempfile.TemporaryDirectory() as folder:
        w.tell(asyncio.run(measure(args.calls, args.seconds, Path(folder), records=args.records == "sqlite")))


if __name__ == "__main__":
    main()
