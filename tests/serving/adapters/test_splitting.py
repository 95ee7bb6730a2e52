"""Starting, altering and ending a split: the rules, the audit, and two who act at once."""

import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest

from serving.adapters import splitting
from serving.adapters.audit import Action, Step
from serving.adapters.decision import GateDecision
from serving.adapters.inspection import inspect_registry
from serving.adapters.promotion import Waiver, promote, rollback
from serving.adapters.registry import AdapterRegistry
from serving.adapters.splits import SPLIT_TAG
from serving.adapters.splitting import Terms, alter_plan, carry_out, read_split, start_plan, stop_plan
from serving.adapters.verdicts import attach_decision
from serving.arms.guardrail import Guard, Harm, Tally, judge
from serving.arms.sequential import Counts
from serving.arms.split import Split
from serving.errors import IntegrityError, InvalidInputError, RefusedError

NAME = "banking-lora"
DecisionMaker = Callable[..., GateDecision]
HARMFUL = Tally({harm: Counts(5, 100) for harm in Harm}, {harm: Counts(80, 100) for harm in Harm})


def start(registry: AdapterRegistry, percent: int = 10, version: int = 3, **terms: object) -> Split:
    plan = partial(start_plan, registry, NAME, version, percent, by="ann", reason="why", terms=Terms(**terms))
    split = carry_out(registry, NAME, plan, seen=None)
    assert split is not None
    return split


def alter(registry: AdapterRegistry, percent: int, seen: Split | None) -> Split | None:
    plan = partial(alter_plan, registry, NAME, percent, by="bob", reason="more")
    return carry_out(registry, NAME, plan, seen=seen)


def stop(registry: AdapterRegistry, seen: Split | None) -> Split | None:
    return carry_out(registry, NAME, partial(stop_plan, registry, NAME, by="bob", reason="enough"), seen=seen)


def last_evidence(registry: AdapterRegistry) -> Mapping[str, str]:
    return registry.history()[-1].act.evidence


def test_a_split_is_started_altered_and_stopped_and_all_of_it_stands_in_the_audit(
    challenged: AdapterRegistry, open_registry: Callable[[], AdapterRegistry]
) -> None:
    began = start(challenged, 10)
    assert (began.champion, began.challenger, began.percent) == (f"{NAME}/2", f"{NAME}/3", 10)
    assert read_split(open_registry(), NAME) == began  # another process sees it
    more = alter(challenged, 25, began)
    assert more is not None
    assert (more.id, more.percent, len(more.shares)) == (began.id, 25, 2)
    ended = stop(challenged, more)
    assert ended is not None
    assert (ended.running, ended.percent, ended.ended_by, ended.ended_why) == (False, 0, "bob", "enough")
    assert read_split(challenged, NAME) == ended
    rows = [(row.act.action, row.step, row.act.by) for row in challenged.history()][-6:]
    assert rows == [
        (Action.SPLIT, Step.BEGUN, "ann"), (Action.SPLIT, Step.DONE, "ann"),
        (Action.SPLIT, Step.BEGUN, "bob"), (Action.SPLIT, Step.DONE, "bob"),
        (Action.STOP, Step.BEGUN, "bob"), (Action.STOP, Step.DONE, "bob"),
    ]  # fmt: skip
    assert all(finding.sound is not False for finding in inspect_registry(challenged, None, None))
    again = start(challenged, 5)
    assert again.id != began.id


def test_a_challenger_needs_what_a_promotion_needs(
    challenged: AdapterRegistry, make_decision: DecisionMaker
) -> None:
    with pytest.raises(RefusedError, match="judged against no champion"):
        start(challenged, version=1)
    with pytest.raises(RefusedError, match="champion already"):
        start(challenged, version=2)
    attach_decision(challenged, NAME, 3, make_decision(2, passed=False), by="gate")
    with pytest.raises(RefusedError, match="The gate refused"):
        start(challenged)
    assert read_split(challenged, NAME) is None
    start(challenged, waiver=Waiver("on few callers only", 2))
    assert last_evidence(challenged)["waived"] == "on few callers only"


def test_an_altered_challenger_gets_no_callers_and_no_more_of_them(challenged: AdapterRegistry) -> None:
    began = start(challenged)
    (challenged.get(NAME, 3).bundle / "card.md").write_text("altered")
    with pytest.raises(IntegrityError, match=r"card\.md"):
        alter(challenged, 20, began)
    assert read_split(challenged, NAME) == began
    assert stop(challenged, began) is not None
    with pytest.raises(IntegrityError, match=r"card\.md"):
        start(challenged)


@pytest.mark.parametrize("percent", [-1, 101])
def test_a_share_that_is_none_changes_nothing(challenged: AdapterRegistry, percent: int) -> None:
    with pytest.raises(InvalidInputError, match="0 to 100"):
        start(challenged, percent)
    assert read_split(challenged, NAME) is None


def test_of_two_who_start_at_once_one_wins_and_the_other_is_told(
    challenged: AdapterRegistry, open_registry: Callable[[], AdapterRegistry]
) -> None:
    gate = threading.Barrier(2)

    def one(percent: int) -> Split | RefusedError:
        mine = open_registry()
        mine.audit._lock_timeout_s = 30.0
        gate.wait()
        try:
            return start(mine, percent)
        except RefusedError as error:
            return error

    with ThreadPoolExecutor(2) as pool:
        outcomes = list(pool.map(one, (10, 20)))
    won = [outcome for outcome in outcomes if isinstance(outcome, Split)]
    lost = [outcome for outcome in outcomes if isinstance(outcome, RefusedError)]
    assert (len(won), len(lost)) == (1, 1)
    assert "Meanwhile the split" in str(lost[0])
    assert read_split(challenged, NAME) == won[0]


def test_who_alters_or_stops_what_another_has_changed_is_told(challenged: AdapterRegistry) -> None:
    seen = start(challenged)
    alter(challenged, 50, seen)
    for late in (partial(alter, challenged, 5), partial(stop, challenged)):
        with pytest.raises(RefusedError, match=r"Meanwhile the split .* gets 50 %"):
            late(seen)
    current = read_split(challenged, NAME)
    stop(challenged, current)
    with pytest.raises(RefusedError, match=r"Meanwhile the split was ended"):
        alter(challenged, 5, current)
    with pytest.raises(RefusedError, match="No split"):
        stop(challenged, None)


def test_a_promotion_ends_the_split_and_says_so(challenged: AdapterRegistry) -> None:
    began = start(challenged)
    done = promote(challenged, NAME, 3, by="ann", reason="it won")
    assert done.split_ended == began.id
    ended = read_split(challenged, NAME)
    assert ended is not None
    assert (ended.running, ended.ended_by) == (False, "ann")
    assert ended.ended_why == "promote of banking-lora/3: it won"


def test_a_rollback_ends_the_split_and_one_without_a_split_ends_none(challenged: AdapterRegistry) -> None:
    began = start(challenged)
    assert rollback(challenged, NAME, by="ann", reason="complaints").split_ended == began.id
    assert read_split(challenged, NAME).running is False  # type: ignore[union-attr]
    assert rollback(challenged, NAME, by="ann", reason="back").split_ended == ""


def test_a_promotion_that_was_killed_before_it_ended_the_split_is_finished_by_the_next_writer(
    challenged: AdapterRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    began = start(challenged)

    def killed(*_arguments: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("serving.adapters.settlement.end_with", killed)
        with pytest.raises(KeyboardInterrupt):
            promote(challenged, NAME, 3, by="ann", reason="it won")
    assert challenged.champion_version(NAME) == 3
    with challenged.writing():
        pass
    ended = read_split(challenged, NAME)
    assert ended is not None
    assert (ended.id, ended.running) == (began.id, False)


def test_a_start_that_was_killed_before_its_deciding_step_leaves_no_split(
    challenged: AdapterRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_arguments: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(AdapterRegistry, "set_model_tag", killed)
        with pytest.raises(KeyboardInterrupt):
            start(challenged)
    assert read_split(challenged, NAME) is None
    start(challenged)
    steps = [row.step for row in challenged.history() if row.act.action == Action.SPLIT]
    assert steps == [Step.BEGUN, Step.ABANDONED, Step.BEGUN, Step.DONE]


def test_a_halt_carries_its_evidence_and_only_the_first_of_two_servers_acts(
    challenged: AdapterRegistry, open_registry: Callable[[], AdapterRegistry]
) -> None:
    began = start(challenged)
    findings = judge(HARMFUL, began.guard)
    ended = splitting.halt(challenged, began, findings, by="guardrail on a")
    assert ended is not None
    assert (ended.percent, ended.ended_by) == (0, "guardrail on a")
    assert ended.ended_why.startswith("guardrail: transferred after a failure: 80 of 100 calls against 5")
    assert splitting.halt(open_registry(), began, findings, by="guardrail on b") is None
    halts = [row for row in challenged.history() if row.act.action == Action.HALT]
    assert [(row.step, row.act.by) for row in halts] == [
        (Step.BEGUN, "guardrail on a"), (Step.DONE, "guardrail on a"),
    ]  # fmt: skip
    assert "80 of 100 calls" in halts[-1].act.evidence["guardrail.failed"]


def test_what_the_guardrail_took_back_starts_again_in_writing_only(challenged: AdapterRegistry) -> None:
    began = start(challenged)
    splitting.halt(challenged, began, judge(HARMFUL, began.guard), by="guardrail on a")
    with pytest.raises(
        RefusedError, match=r"took banking-lora/3 back before\. guardrail: .* 80 of 100 calls"
    ):
        start(challenged, 30)
    assert start(challenged, 5, again="the database was away then").running
    assert last_evidence(challenged)["again"] == "the database was away then"
    stop(challenged, read_split(challenged, NAME))
    with pytest.raises(RefusedError, match="took banking-lora/3 back before"):
        start(challenged, 30)


def test_a_halt_never_touches_another_split(challenged: AdapterRegistry) -> None:
    first = start(challenged)
    stop(challenged, first)
    second = start(challenged)
    assert splitting.halt(challenged, first, judge(HARMFUL, Guard()), by="guardrail on a") is None
    assert read_split(challenged, NAME) == second


def test_the_challenger_of_a_running_split_cannot_be_deleted(challenged: AdapterRegistry) -> None:
    began = start(challenged)
    with pytest.raises(RefusedError, match=r"is the challenger of the split .* cannot be deleted"):
        challenged.delete(NAME, 3, by="ann", reason="room")
    stop(challenged, began)
    challenged.delete(NAME, 3, by="ann", reason="room")


def test_a_damaged_split_keeps_nobody_from_going_on_and_is_cleared_by_a_stop(
    challenged: AdapterRegistry,
) -> None:
    start(challenged)
    with challenged.writing():
        challenged.set_model_tag(NAME, SPLIT_TAG, "{")
    with pytest.raises(IntegrityError, match="split --stop"):
        read_split(challenged, NAME)
    assert rollback(challenged, NAME, by="ann", reason="complaints").champion_after == 1
    assert stop(challenged, None) is None
    assert read_split(challenged, NAME) is None


def test_a_verification_sees_a_split_that_was_altered_behind_the_audit(challenged: AdapterRegistry) -> None:
    def sound() -> list[bool | None]:
        return [item.sound for item in inspect_registry(challenged) if item.question == "split"]

    assert sound() == []
    began = start(challenged)
    assert sound() == [True]
    with challenged.writing():
        challenged.set_model_tag(NAME, SPLIT_TAG, began.altered(100, began.started_at).to_json())
    assert sound() == [False]
    with challenged.writing():
        challenged.set_model_tag(NAME, SPLIT_TAG, "x")
    assert sound() == [False]
    with challenged.writing():
        challenged.set_model_tag(NAME, SPLIT_TAG, began.to_json())
    promote(challenged, NAME, 3, by="ann", reason="it won")
    assert sound() == [True]


@pytest.mark.parametrize("removed", [True, False])
def test_a_verification_sees_a_split_that_was_ended_or_removed_behind_the_audit(
    challenged: AdapterRegistry, *, removed: bool
) -> None:
    began = start(challenged)
    with challenged.writing():
        ended = began.ended(began.started_at, by="nobody", why="nothing").to_json()
        challenged.set_model_tag(NAME, SPLIT_TAG, "" if removed else ended)
    (found,) = (item for item in inspect_registry(challenged) if item.question == "split")
    assert found.sound is False
    with challenged.writing():
        challenged.set_model_tag(NAME, SPLIT_TAG, began.to_json())
    stop(challenged, began)
    (found,) = (item for item in inspect_registry(challenged) if item.question == "split")
    assert found.sound is True


def test_an_alteration_is_refused_where_the_champion_is_another_one_by_now(
    challenged: AdapterRegistry,
) -> None:
    began = start(challenged)
    challenged.set_alias(NAME, "champion", 1)  # behind our back
    with pytest.raises(RefusedError, match="no longer banking-lora/2"):
        alter(challenged, 20, began)
