"""An adapter that does not know what the bank answers: every way in which it could come to serve.

Of three versions 1 and 3 know all that is answered; 2 was trained with `pin_reset` instead of `pin_blocked`.
"""

import json
import shutil
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from loguru import logger
from typer.testing import CliRunner, Result

from serving.adapters.audit import Act, Action, Step
from serving.adapters.fit import Fit, Needed, fit, load_needed, needed_by, needed_by_server
from serving.adapters.live import LiveAdapter
from serving.adapters.live_arms import LiveArms
from serving.adapters.pin import Reference, read_pin, write_pin
from serving.adapters.promotion import Waiver, promote, rollback
from serving.adapters.registry import AdapterRegistry
from serving.adapters.splitting import Terms, alter_plan, carry_out, start_plan
from serving.adapters.verdicts import attach_decision
from serving.call.policy import CONTROL
from serving.cli.adapters import app
from serving.cli.orchestrator_health import _rows as rows_of_health
from serving.errors import InvalidInputError, RefusedError
from serving.language.embedded import TASKS
from serving.language.encoder import SentenceEncoder
from serving.language.knowledge import load_knowledge
from serving.services.health import Health
from serving.services.open_calls import OpenCalls
from serving.settings import default_data_dir
from tests.properties import examples
from tests.serving.adapters.conftest import BundleMaker, a_decision, registry_in
from tests.serving.adapters.fitting import KNOWN, relabelled, small_data

NAME = "banking-lora"
NEVER = 1e6
SPEAKS = SimpleNamespace(current=SimpleNamespace(version=""), problem="")
CACHE = SimpleNamespace(generation=lambda: 1)
LABELS = st.frozensets(st.sampled_from("abcdefgh"))
Control = Callable[..., Result]
MakeLive = Callable[[], LiveAdapter]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return small_data(tmp_path / "data")


@pytest.fixture(scope="module")
def mixed_template(
    empty_template: Path, sealed: BundleMaker, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """1 is champion, and both others passed a gate against it; nobody has looked at their labels."""
    folder = tmp_path_factory.mktemp("mixed")
    registry = registry_in(Path(shutil.copytree(empty_template, folder / "mlruns")))
    other = Path(shutil.copytree(sealed(2), folder / "bundle"))
    for version in (1, 2, 3):
        bundle = relabelled(other, "pin_blocked", "pin_reset") if version == 2 else sealed(version)
        registry.register(NAME, bundle, by="ci")
        attach_decision(registry, NAME, version, a_decision(None if version == 1 else 1), by="gate")
        if version == 1:
            promote(registry, NAME, 1, by="ci", reason="passed the gate")
    return folder / "mlruns"


@pytest.fixture
def mlruns(mixed_template: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(mixed_template, tmp_path / "mlruns"))


@pytest.fixture
def mixed(mlruns: Path) -> AdapterRegistry:
    """The registry as somebody sees it who does not know what is answered."""
    return registry_in(mlruns)


@pytest.fixture
def checked(mixed: AdapterRegistry, mlruns: Path, data: Path) -> AdapterRegistry:
    """The same registry as an installation opens it: it knows what is answered."""
    opened = registry_in(mlruns)
    opened.needed = partial(load_needed, data)
    return opened


@pytest.fixture
def make_live(
    mixed: AdapterRegistry, tiny_encoder: SentenceEncoder, tmp_path: Path, data: Path
) -> Iterator[MakeLive]:
    """A server's adapter with what the data folder needs at that moment; its watcher sleeps."""
    made: list[LiveAdapter] = []

    def make() -> LiveAdapter:
        store, needed = tmp_path / "home" / "adapters", load_needed(data)
        made.append(LiveAdapter(mixed, tiny_encoder, store, poll_s=NEVER, needed=needed))
        return made[-1].start()

    yield make
    for live in made:
        live.close()


@pytest.fixture
def control(mlruns: Path, tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch) -> Control:
    """Run `adapter-control` in this installation."""
    for name, value in {"MLRUNS": mlruns, "DATA_DIR": data, "HOME": tmp_path / "home"}.items():
        monkeypatch.setenv(f"VOICEBOT_{name}", str(value))
    runner = CliRunner()
    return lambda *arguments: runner.invoke(app, [str(argument) for argument in arguments])


@pytest.fixture
def warnings() -> Iterator[list[str]]:
    lines: list[str] = []
    sink = logger.add(lambda message: lines.append(str(message)), level="WARNING", format="{message}")
    yield lines
    logger.remove(sink)


@given(LABELS, LABELS, LABELS)
@examples(60)
def test_labels_fit_just_where_nothing_needed_is_missing(
    labels: frozenset[str], answered: frozenset[str], control: frozenset[str]
) -> None:
    found = fit(labels, Needed(answered, control, frozenset("h")))
    needed = answered | control
    if not needed:
        assert found == Fit()
        return
    assert set(found.missing) == {label for label in needed if label not in labels}
    assert set(found.unanswered) == {label for label in labels if label not in needed and label != "h"}
    assert fit(labels | needed, Needed(answered, control)).missing == ()


def test_the_projects_intents_are_all_that_its_knowledge_tools_and_calls_need() -> None:
    folder = default_data_dir()
    needed = load_needed(folder)
    assert needed.control == CONTROL
    assert needed.answered >= TASKS
    knowledge = load_knowledge(folder / "knowledge" / "answers.yaml")
    assert needed_by(knowledge, folder / "nowhere").control == frozenset()


def test_intents_that_cannot_be_read_are_named(data: Path) -> None:
    (data / "intents" / "all.yaml").write_text("card_lost: [")
    with pytest.raises(InvalidInputError, match=r"all\.yaml"):
        load_needed(data)


def test_a_server_needs_what_its_knowledge_answers_where_the_intents_cannot_be_read(
    data: Path, warnings: list[str]
) -> None:
    (data / "intents" / "all.yaml").write_text("card_lost: [")
    knowledge = load_knowledge(data / "knowledge" / "answers.yaml")
    assert needed_by_server(knowledge, data / "intents") == Needed(frozenset(KNOWN))
    assert any("the knowledge alone" in line and "all.yaml" in line for line in warnings)


def test_hidden_and_empty_files_beside_the_intents_say_nothing(data: Path) -> None:
    expected = load_needed(data)
    (data / "intents" / "draft.yaml").write_text("")
    (data / "intents" / "later.yaml").write_text("# limits:\n#   kind: informational\n")
    (data / "intents" / ".#all.yaml").symlink_to("ann@nowhere.1234:1700000000")
    (data / "intents" / ".all.yaml").write_text("card_lost: [")
    assert load_needed(data) == expected


def test_a_version_that_lacks_an_intent_is_not_promoted_not_even_with_a_waiver(
    checked: AdapterRegistry, data: Path
) -> None:
    rows = checked.history()
    move = partial(promote, checked, NAME, 2, by="ann", reason="better")
    with pytest.raises(RefusedError, match="does not know an intent that this bank serves: pin_blocked"):
        move()
    small_data(data, control=("speak_to_agent",))
    with pytest.raises(RefusedError, match="2 intents that this bank serves: pin_blocked, speak_to_agent"):
        move()
    checked.set_tags(NAME, 2, {"gate.decision": ""})
    with pytest.raises(RefusedError, match="pin_blocked") as refused:
        move(waiver=Waiver("urgent", 1))
    assert "A waiver does not cover it." in refused.value.advice
    assert (checked.history(), checked.champion_version(NAME)) == (rows, 1)
    small_data(data)
    assert promote(checked, NAME, 3, by="ann", reason="better").champion_after == 3


def test_a_version_that_lacks_an_intent_is_not_loaded_by_hand(
    mixed: AdapterRegistry, control: Control, tmp_path: Path
) -> None:
    for arguments in (("--load", f"{NAME}@2", "--enable"), ("load", f"{NAME}@2")):
        refused = control(*arguments)
        assert refused.exit_code == 1
        assert "banking-lora/2 does not know an intent that this bank serves: pin_blocked." in refused.stderr
    assert read_pin(tmp_path / "home" / "adapters") is None
    assert control("load", f"{NAME}@2", "--disable").exit_code == 0  # switching off always works
    assert control("load", f"{NAME}@3").exit_code == 0


def test_a_challenger_that_lacks_an_intent_gets_no_callers(
    checked: AdapterRegistry, mixed: AdapterRegistry, data: Path
) -> None:
    terms = Terms(cold=True)
    with pytest.raises(RefusedError, match="pin_blocked"):
        start_plan(checked, NAME, 2, 10, by="ann", reason="why", terms=terms)
    start = partial(start_plan, mixed, NAME, 2, 10, by="ann", reason="why", terms=terms)
    assert carry_out(mixed, NAME, start, seen=None) is not None
    with pytest.raises(RefusedError, match="pin_blocked"):
        alter_plan(checked, NAME, 50, by="ann", reason="more")
    small_data(data, (*KNOWN[:2], "fees"))  # the champion knows no fees either: its callers lose nothing
    assert alter_plan(checked, NAME, 50, by="ann", reason="more").split is not None


def test_an_intent_that_no_version_knows_keeps_nobody_from_choosing_and_promoting(
    mixed: AdapterRegistry, control: Control, data: Path
) -> None:
    small_data(data, (*KNOWN, "fees"))
    lacks = "does not know an intent that this bank serves: fees."
    for arguments in (("load", f"{NAME}@1"), ("--enable",), ("load", NAME), ("load", f"{NAME}@3")):
        assert control("load", f"{NAME}@1", "--disable").exit_code == 0
        done = control(*arguments)
        assert (done.exit_code, lacks in done.stderr) == (0, True), arguments
    refused = control("load", f"{NAME}@2")
    assert refused.exit_code == 1
    assert "wrong answers. What serves now knows pin_blocked." in refused.stderr
    done = control("promote", f"{NAME}@3", "--reason", "better", "--json")
    assert (done.exit_code, lacks in done.stderr) == (0, True)
    assert mixed.champion_version(NAME) == 3


def test_without_a_champion_a_gap_is_refused(
    checked: AdapterRegistry, sealed: BundleMaker, empty_template: Path, tmp_path: Path, data: Path
) -> None:
    registry = registry_in(Path(shutil.copytree(empty_template, tmp_path / "first")))
    registry.needed = checked.needed
    registry.register(NAME, sealed(1), by="ci")
    attach_decision(registry, NAME, 1, a_decision(None), by="gate")
    small_data(data, (*KNOWN, "fees"))
    with pytest.raises(RefusedError, match="serves: fees"):
        promote(registry, NAME, 1, by="ci", reason="first")


def test_a_home_that_pinned_another_version_can_follow_a_rollback(
    mixed: AdapterRegistry, control: Control, make_live: MakeLive
) -> None:
    promote(mixed, NAME, 2, by="ann", reason="before the knowledge changed")
    attach_decision(mixed, NAME, 3, a_decision(2), by="gate")
    promote(mixed, NAME, 3, by="ann", reason="better")
    assert control("load", f"{NAME}@3").exit_code == 0
    assert control("load", f"{NAME}@2").exit_code == 1  # no champion, and less than what serves
    live = make_live()
    assert control("rollback", NAME, "--reason", "complaints").exit_code == 0
    for arguments in (("load", f"{NAME}@2"), ("--load", NAME, "--enable")):
        done = control(*arguments)
        assert (done.exit_code, "pin_blocked" in done.stderr) == (0, True), arguments
    assert live.check() is True
    assert live.current.version == "banking-lora/2"


def test_a_rollback_goes_to_such_a_version_and_says_what_it_lacks(
    mixed: AdapterRegistry, control: Control, data: Path
) -> None:
    promote(mixed, NAME, 3, by="ann", reason="two new intents")
    small_data(data, (*KNOWN, "fees", "limits"))
    lacks = "warning: banking-lora/1 does not know 2 intents that this bank serves: fees, limits."
    dry = control("rollback", NAME, "--reason", "complaints", "--dry-run")
    assert lacks in dry.stderr
    done = control("rollback", NAME, "--reason", "complaints", "--json")
    assert done.exit_code == 0
    assert lacks in done.stderr
    assert "To undo the rollback, roll back again." in done.stderr
    assert json.loads(done.stdout)["champion_after"] == 1
    (data / "knowledge" / "answers.yaml").unlink()  # nothing keeps an operator from going back
    done = control("rollback", NAME, "--reason", "complaints")
    assert done.exit_code == 0
    assert "Whether banking-lora/3 fits the knowledge is not known" in done.stderr


def test_a_promotion_says_which_labels_nothing_answers(
    mixed: AdapterRegistry, control: Control, data: Path
) -> None:
    small_data(data, KNOWN[:2])
    done = control("promote", f"{NAME}@3", "--reason", "better")
    assert done.exit_code == 0
    assert "banking-lora/3 knows 1 labels that nothing answers, pin_blocked for one" in done.stderr


def test_a_running_server_keeps_the_adapter_that_knows_more(
    mixed: AdapterRegistry, make_live: MakeLive, tmp_path: Path, warnings: list[str]
) -> None:
    live = make_live()
    assert live.problem == ""
    promote(mixed, NAME, 2, by="ann", reason="from a machine with other data")
    assert live.check() is False
    assert (live.current.version, live.current.missing) == ("banking-lora/1", ())
    assert "banking-lora/2 does not know an intent that this bank serves: pin_blocked" in live.problem
    assert any("banking-lora/1 goes on serving" in line and "pin_blocked" in line for line in warnings)
    write_pin(tmp_path / "home" / "adapters", Reference(NAME, 3), enabled=True, by="ann", reason="this one")
    assert live.check() is True
    assert (live.current.version, live.problem) == ("banking-lora/3", "")


def test_a_running_server_follows_a_rollback_whatever_the_labels_and_says_so(
    mixed: AdapterRegistry, make_live: MakeLive, warnings: list[str]
) -> None:
    promote(mixed, NAME, 2, by="ann", reason="before the knowledge changed")
    live = make_live()
    assert live.current.version == "banking-lora/2"
    rollback(mixed, NAME, by="ann", reason="complaints")
    assert live.check() is True
    assert live.problem == ""
    rollback(mixed, NAME, by="ann", reason="that was worse")
    assert live.check() is True
    assert live.current.version == "banking-lora/2"
    assert live.problem.startswith("banking-lora/2 does not know an intent")
    assert any("pin_blocked" in line for line in warnings)


@pytest.mark.parametrize("killed", [True, False])
def test_a_rollback_is_followed_also_after_a_promotion_that_moved_nothing(
    mixed: AdapterRegistry, make_live: MakeLive, killed: bool
) -> None:
    promote(mixed, NAME, 2, by="ann", reason="before the knowledge changed")
    rollback(mixed, NAME, by="ann", reason="complaints")
    live = make_live()
    assert live.current.version == "banking-lora/1"
    rollback(mixed, NAME, by="ann", reason="that was worse")
    act = Act(Action.PROMOTE, NAME, 3, "ann", "better", champion_before=2, champion_after=3)
    with mixed.writing():
        begun = mixed.audit.append(Step.BEGUN, act)
        if not killed:
            mixed.audit.append(Step.ABANDONED, act, closes=begun.sequence)
    assert live.check() is True
    assert live.current.version == "banking-lora/2"


def test_a_rollback_that_failed_takes_nobody_back(
    mixed: AdapterRegistry, make_live: MakeLive, tmp_path: Path
) -> None:
    live = make_live()
    act = Act(Action.ROLLBACK, NAME, 2, "ann", "complaints", champion_before=1, champion_after=2)
    with mixed.writing():
        begun = mixed.audit.append(Step.BEGUN, act)
        mixed.audit.append(Step.ABANDONED, act, closes=begun.sequence)
    write_pin(tmp_path / "home" / "adapters", Reference(NAME, 2), enabled=True, by="ann", reason="this one")
    assert live.check() is False
    assert live.current.version == "banking-lora/1"


def test_a_server_starts_with_what_served_last_where_the_wanted_one_knows_less(
    mixed: AdapterRegistry, make_live: MakeLive
) -> None:
    make_live()
    promote(mixed, NAME, 2, by="ann", reason="from a machine with other data")
    assert make_live().current.version == "banking-lora/1"


def test_a_server_without_a_better_one_starts_and_warns(
    mixed: AdapterRegistry, make_live: MakeLive, data: Path, warnings: list[str]
) -> None:
    small_data(data, (*KNOWN, "fees"))
    live = make_live()
    assert live.current.missing == ("fees",)
    assert "banking-lora/1 does not know an intent that this bank serves: fees" in live.problem
    assert any("fees" in line for line in warnings)
    runtime = SimpleNamespace(adapter=live, dialogue=SPEAKS, cache=CACHE, choices=(), hung_tools=0)
    report = Health(runtime, OpenCalls(counted=lambda _number: None), None, dict, None).report()
    assert report["adapter_problem"] == live.problem
    assert ("adapter problem", live.problem) in rows_of_health(report)
    promote(mixed, NAME, 3, by="ann", reason="it lacks no more than the other")
    assert live.check() is True
    assert live.current.version == "banking-lora/3"


def test_the_frozen_head_serves_whatever_it_lacks(
    mixed: AdapterRegistry, make_live: MakeLive, tmp_path: Path
) -> None:
    live = make_live()
    write_pin(tmp_path / "home" / "adapters", Reference(NAME, 2), enabled=False, by="ann", reason="off")
    assert live.check() is True
    assert live.current.source == "disabled"
    assert "pin_blocked" in live.problem


def test_a_server_gives_no_caller_a_challenger_that_lacks_an_intent(
    mixed: AdapterRegistry, make_live: MakeLive, tiny_encoder: SentenceEncoder, tmp_path: Path
) -> None:
    plan = partial(start_plan, mixed, NAME, 2, 100, by="ann", reason="why", terms=Terms(cold=True))
    carry_out(mixed, NAME, plan, seen=None)
    arms = LiveArms(make_live(), mixed, tiny_encoder, tmp_path / "arms", warm=lambda _served: 7)
    arms.check()
    assert arms.place(lambda: "anybody").served.version == "banking-lora/1"
    assert "pin_blocked" in arms.standing.trouble
