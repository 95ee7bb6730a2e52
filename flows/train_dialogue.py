"""Flow train-dialogue: data/tool_calls → LoRA on a language model → MLflow → challenger, judged by the gate.

    python -m flows.train_dialogue --model FOLDER

A run that was killed goes on from its checkpoint when the same request runs again. Promotion is the flow
promote-adapter with this model's name.
"""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prefect import flow, task
from prefect.cache_policies import NO_CACHE
from pydantic import BaseModel, ConfigDict, Field, field_validator

from flows.judging import Verdict, judge_version
from flows.progress import report
from flows.tracking import Experiment, reopened_run, tracked_run
from flows.work_folder import trained_before, work_folder
from serving.adapters.audit import operator_name
from serving.adapters.kinds import DIALOGUE_NAME
from serving.adapters.manifest import check_name
from serving.errors import MissingError
from serving.settings import Settings

if TYPE_CHECKING:
    from training.dialogue.bundle import Chosen
    from training.dialogue.config import DialogueConfig
    from training.outcome import Progress


class DialogueTrainRequest(BaseModel):
    """What to train; every field has a default, so that an operator need only name what differs."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: str = ""
    """Transformers folder of a Mistral-family model, or a name of the hub; empty: the setting local_llm."""
    name: str = DIALOGUE_NAME
    """Registered model."""
    seed: int = Field(default=0, ge=0)
    customer_tools: bool = False
    """Learn the customers' tools, too; calls offer engines only the bank's."""
    limit: int | None = Field(default=None, ge=1)
    """Most dialogues to learn."""
    changes: dict[str, Any] = {}
    """Values of the recipe to change (`training/dialogue/config.py`), such as {"four_bit": true}."""

    @field_validator("name")
    @classmethod
    def _registrable(cls, name: str) -> str:
        return check_name(name)

    def config(self) -> "DialogueConfig":
        """The recipe.

        Raises:
            InvalidInputError: it is none.
        """
        from training.dialogue.config import changed_config

        return changed_config({"seed": self.seed} | self.changes)

    def chosen(self) -> "Chosen":
        """Which dialogues, under which name."""
        from training.dialogue.bundle import Chosen

        tools = {"bank", "customer"} if self.customer_tools else {"bank"}
        return Chosen(frozenset(tools), self.limit, self.name)


@dataclass(frozen=True, slots=True)
class DialogueInputs:
    """Base and data of a run.

    Attributes:
        base: the model's folder.
        base_name: what people call it.
        base_sha256: its weights on disk.
        data_sha256: the dialogues' file.
        learned: dialogues of the training split.
        key: names the work folder: same base, tokenizer, rules, data, recipe and name, same key, so that a
            rerun resumes.
    """

    base: Path
    base_name: str
    base_sha256: str
    data_sha256: str
    learned: int
    key: str


@dataclass(frozen=True, slots=True)
class DialogueOutcome:
    """What the flow leaves.

    Attributes:
        run_id: MLflow run of the adapter.
        exact_call: share of the test turns that should call with exactly the right calls.
        base_exact_call: the same of the base without an adapter.
        gate: `passed` or `failed`.
        failed: checks of the gate that did not pass.
    """

    name: str
    version: int
    run_id: str
    base: str
    exact_call: float | None
    base_exact_call: float | None
    gate: str
    failed: tuple[str, ...]
    trained_parameters: int
    seconds: float
    tokens_per_second: float
    dialogues: int


@task(cache_policy=NO_CACHE)
def prepare_dialogues(request: DialogueTrainRequest) -> DialogueInputs:
    """Find the base and read the dialogues; only facts are passed on.

    Raises:
        MissingError: no base is named, or it is not to be had.
        InvalidInputError: recipe, base or dialogues cannot be used.
    """
    from evaluation.dialogues import BANK
    from serving.language.dialogue_adapter import BaseIdentity
    from serving.language.prompt import prompt_sha256
    from training.dialogue.base import base_folder
    from training.dialogue.bundle import base_name
    from training.dialogue.check import DIALOGUES_FILE

    settings = Settings.load()
    config, chosen = request.config(), request.chosen()
    if not request.model and settings.local_llm is None:
        raise MissingError(
            "A dialogue adapter needs a base, and none is named.",
            advice="Name a model folder or hub name (--model), or set VOICEBOT_LOCAL_LLM.",
        )
    base = base_folder(request.model) if request.model else settings.local_llm
    assert base is not None
    learned, _ = chosen.rows(settings.data)
    data = hashlib.sha256((settings.data / "tool_calls" / DIALOGUES_FILE).read_bytes()).hexdigest()
    identity = BaseIdentity.of(base)
    # Whatever a finished bundle must agree with: one of another tokenizer would be refused by every server.
    model = [identity.weights_sha256, identity.tokenizer_sha256, prompt_sha256(BANK)]
    parts = [*model, data, config.to_dict(), sorted(chosen.tools), chosen.limit, chosen.name]
    key = hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]
    name = base_name(base)
    report("dialogues", 1, 1, f"{len(learned)} to learn, base {name}")
    return DialogueInputs(base, name, identity.weights_sha256, data, len(learned), f"dialogue-{key}")


@task(cache_policy=NO_CACHE)
def train_dialogue_bundle(request: DialogueTrainRequest, inputs: DialogueInputs, work: Path) -> Path:
    """Train and seal the bundle in the work folder, or find it there; returns its folder."""
    from training.code_version import code_version
    from training.dialogue.bundle import train_dialogue_adapter

    folder = work / "bundle"
    if trained_before(folder):
        return folder

    def show(progress: "Progress") -> None:
        note = f"epoch {progress.epoch}, loss {progress.loss:.3f}"
        report("dialogue LoRA", progress.step, progress.steps, note)

    train_dialogue_adapter(
        inputs.base,
        Settings.load().data,
        folder,
        request.config(),
        chosen=request.chosen(),
        code=code_version(),
        on_progress=show,
    )
    return folder


@task(cache_policy=NO_CACHE)
def log_dialogue_run(request: DialogueTrainRequest, inputs: DialogueInputs, bundle: Path) -> str:
    """Log the run with its loss curve; returns its id."""
    settings = Settings.load()
    metrics = json.loads((bundle / "metrics.json").read_text(encoding="utf-8"))
    training, dataset = metrics["training"], metrics["dataset"]
    tags = {
        "kind": "dialogue",
        "dataset.source": "tool_calls",
        "dataset.sha256": inputs.data_sha256,
        "base.model": inputs.base_name,
        "base.weights_sha256": inputs.base_sha256,
        "seed": str(request.seed),
    }
    with tracked_run(settings, Experiment.ADAPTERS, request.name, tags) as run:
        run.log_params(metrics["config"])
        figures = ("steps", "trained_parameters", "seconds", "tokens_per_second", "peak_bytes", "best_epoch")
        run.log_metrics({name: training[name] for name in figures})
        run.log_metrics({name: dataset[name] for name in ("turns", "tokens", "learned_tokens")})
        for step, loss in enumerate(training["losses"], start=1):
            run.log_metrics({"step_loss": loss}, step=step)
        for epoch in training["log"]:
            values = {name: epoch[name] for name in ("train_loss", "validation_loss")}
            run.log_metrics(values, step=epoch["epoch"])
        run.log_files(bundle, "bundle")
        return run.run_id


@task(cache_policy=NO_CACHE, retries=2, retry_delay_seconds=2)
def register_dialogue(request: DialogueTrainRequest, bundle: Path, run_id: str) -> int:
    """Register the bundle as challenger; the same bundle twice gives the same version."""
    from serving.adapters.registry import AdapterRegistry
    from serving.language.dialogue_adapter import DialogueFacts

    settings = Settings.load()
    registry = AdapterRegistry.from_settings(settings)
    facts = DialogueFacts.load(bundle)
    tags = {"base.weights_sha256": facts.weights_sha256, "tokenizer.sha256": facts.tokenizer_sha256}
    by = operator_name(settings.operator)
    version = registry.register(request.name, bundle, by=by, run_id=run_id, tags=tags)
    report("registry", 1, 1, version.label)
    return version.version


@task(cache_policy=NO_CACHE)
def judge_dialogue_challenger(name: str, version: int, base: Path, run_id: str) -> Verdict:
    """Put the challenger through the gate and log what the judge found with its run."""
    settings = Settings.load()
    verdict = judge_version(settings, name, version, by=operator_name(settings.operator), base=base)
    if verdict.figures:
        finished = f"{name}/{version} is registered and judged"
        with reopened_run(settings, run_id, finished=finished) as run:
            run.log_metrics(verdict.figures)
            run.log_json("decision.json", json.loads(verdict.decision.to_json()))
    report("gate", 1, 1, verdict.decision.status)
    return verdict


@flow(name="train-dialogue")
def train_dialogue(request: DialogueTrainRequest = DialogueTrainRequest()) -> DialogueOutcome:  # noqa: B008  # frozen
    """Train a dialogue adapter on the project's dialogues and register it as judged challenger.

    Raises:
        UnavailableError: another process trains the same adapter now.
    """
    inputs = prepare_dialogues(request)
    with work_folder(Settings.load().home / "training", inputs.key) as work:
        bundle = train_dialogue_bundle(request, inputs, work)
        run_id = log_dialogue_run(request, inputs, bundle)
        version = register_dialogue(request, bundle, run_id)
        verdict = judge_dialogue_challenger(request.name, version, inputs.base, run_id)
        training = json.loads((bundle / "metrics.json").read_text(encoding="utf-8"))["training"]
    return DialogueOutcome(
        name=request.name,
        version=version,
        run_id=run_id,
        base=inputs.base_name,
        exact_call=verdict.accuracy,
        base_exact_call=verdict.baseline,
        gate=verdict.decision.status,
        failed=tuple(check.name for check in verdict.decision.failures),
        trained_parameters=training["trained_parameters"],
        seconds=training["seconds"],
        tokens_per_second=training["tokens_per_second"],
        dialogues=inputs.learned,
    )


if __name__ == "__main__":
    from flows.environment import run_command

    run_command("train-dialogue")
