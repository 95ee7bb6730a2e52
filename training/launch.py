"""Training with several processes on one machine, each computing a share of every batch.

    accelerate launch --multi_gpu --num_processes 2 -m training.launch --set threads=1

`--multi_gpu` makes accelerate start several processes at all; these compute on the CPU. With `--cpu` it
starts a single one, whatever number is asked for; `processes` in the output tells.
The bundle appears where the flow train-adapter looks for it: `voicebot train` with the same data, preset,
name and settings registers and judges it without training again.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from serving.cli.console import command_errors, print_json
from serving.language.encoder import load_encoder
from serving.settings import Settings
from training.baseline import fit_baseline
from training.bundle import ADAPTER_NAME
from training.code_version import code_version
from training.config import preset, read_changes
from training.pipeline import checkpoint_of, conclude, learn, require_new, run_key
from training.processes import Processes, joined
from training.sources import load_splits


def main(arguments: Sequence[str] | None = None) -> None:
    """Train with the processes that the launcher started; the main one prints what came out as JSON."""
    parser = argparse.ArgumentParser(prog="training.launch", description=__doc__)
    parser.add_argument("--dataset", default="", help="as of voicebot train; default: own intents")
    parser.add_argument("--preset", default="project", help="recipe: project or banking77")
    parser.add_argument("--name", default=ADAPTER_NAME, help="registered model")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="change the recipe")
    parser.add_argument("--out", type=Path, help="the bundle's folder; default: where voicebot train looks")
    given = parser.parse_args(arguments)
    with command_errors(), joined() as processes:
        _train(given, processes)


def _train(given: argparse.Namespace, processes: Processes) -> None:
    settings = Settings.load()
    config = preset(given.preset).with_(**read_changes(given.set))
    splits = load_splits(given.dataset or settings.data / "intents", config=config)
    encoder = load_encoder(settings.encoder, max_length=config.max_length)
    key = run_key(encoder, splits, config, given.name)
    folder: Path = given.out or settings.home / "training" / key / "bundle"
    processes.from_main(lambda: require_new(folder))
    baseline = processes.from_main(lambda: fit_baseline(encoder, splits, config))
    checkpoint = checkpoint_of(folder)
    trained, _ = learn(encoder, splits, baseline.start, config, checkpoint, processes=processes)
    if processes.rank:
        return
    run = conclude(encoder, splits, baseline, trained, folder, name=given.name, code=code_version())
    checkpoint.unlink(missing_ok=True)
    best = run.test or run.validation
    print_json(
        {
            "bundle": str(folder),
            "processes": processes.count,
            "split": best.split,
            "accuracy": best.adapter.accuracy.estimate,
            "baseline": best.baseline.accuracy.estimate,
            "seconds": run.trained.seconds,
            "losses": run.trained.losses,
        }
    )


if __name__ == "__main__":
    main(sys.argv[1:])
