import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from serving.adapters.audit import Action, Step
from serving.adapters.decision import GateDecision
from serving.adapters.promotion import Transition, promote, rollback
from serving.adapters.registry import AdapterRegistry
from serving.adapters.verdicts import attach_decision
from serving.adapters.versions import CHALLENGER, CHAMPION, PREVIOUS
from serving.errors import IntegrityError, InvalidInputError, MissingError, RefusedError, UnavailableError

NAME = "banking-lora"
BundleMaker = Callable[..., Path]
DecisionMaker = Callable[..., GateDecision]


class KilledError(BaseException):
    """Ends a writer where it stands, as a kill does."""


def test_the_first_promotion_makes_a_champion_without_previous(
    registry: AdapterRegistry, make_bundle: BundleMaker, make_decision: DecisionMaker
) -> None:
    registry.register(NAME, make_bundle(), by="ci")
    attach_decision(registry, NAME, 1, make_decision(None), by="gate")
    done = promote(registry, NAME, 1, by="ann", reason="first")
    assert registry.aliases(NAME) == {CHAMPION: 1}
    assert (done.champion_before, done.champion_after) == (None, 1)


def test_a_promotion_moves_the_aliases_tags_the_version_and_is_audited(
    challenged: AdapterRegistry,
) -> None:
    done = promote(challenged, NAME, 3, by="ann", reason="better on fraud")
    assert challenged.aliases(NAME) == {CHAMPION: 3, PREVIOUS: 2}
    tags = challenged.get(NAME, 3).tags
    assert (tags["promoted.by"], tags["promoted.reason"]) == ("ann", "better on fraud")
    row = challenged.history()[-1]
    decision = challenged.decision(NAME, 3)
    assert decision is not None
    assert (row.step, row.act.by, row.act.reason) == (Step.DONE, "ann", "better on fraud")
    assert (row.act.champion_before, row.act.champion_after) == (2, 3)
    assert row.act.evidence["decision"] == decision.sha256
    assert done == Transition(
        Action.PROMOTE, NAME, 2, 3, "ann", row.at, "better on fraud", decision.sha256, row.hash
    )


def test_a_version_that_was_never_judged_is_refused(
    challenged: AdapterRegistry, make_bundle: BundleMaker
) -> None:
    challenged.register(NAME, make_bundle(4), by="ci")
    with pytest.raises(RefusedError, match="never judged"):
        promote(challenged, NAME, 4, by="ann", reason="please")
    assert challenged.champion_version(NAME) == 2


def test_a_version_that_failed_is_refused_with_what_failed(
    challenged: AdapterRegistry, make_decision: DecisionMaker
) -> None:
    attach_decision(challenged, NAME, 3, make_decision(2, passed=False), by="gate")
    with pytest.raises(RefusedError, match="non_inferior"):
        promote(challenged, NAME, 3, by="ann", reason="please")


def test_a_decision_against_an_earlier_champion_does_not_count(
    challenged: AdapterRegistry,
) -> None:
    rollback(challenged, NAME, by="ann", reason="complaints")
    with pytest.raises(RefusedError, match="against champion 2, but now there is champion 1"):
        promote(challenged, NAME, 3, by="ann", reason="please")
    assert challenged.aliases(NAME) == {CHAMPION: 1, PREVIOUS: 2, CHALLENGER: 3}


def test_the_champion_cannot_be_promoted_again(challenged: AdapterRegistry) -> None:
    with pytest.raises(RefusedError, match="champion already"):
        promote(challenged, NAME, 2, by="ann", reason="again")


def test_a_version_whose_bundle_was_altered_is_not_promoted(challenged: AdapterRegistry) -> None:
    (challenged.get(NAME, 3).bundle / "intent.json").write_text("{}")
    with pytest.raises(IntegrityError, match=r"intent\.json"):
        promote(challenged, NAME, 3, by="ann", reason="please")
    assert challenged.champion_version(NAME) == 2


@pytest.mark.parametrize(("by", "reason"), [("", "why"), ("ann", " ")])
def test_nobody_promotes_without_a_name_and_a_reason(
    challenged: AdapterRegistry, by: str, reason: str
) -> None:
    with pytest.raises(InvalidInputError, match="audit needs to know"):
        promote(challenged, NAME, 3, by=by, reason=reason)
    assert challenged.champion_version(NAME) == 2


def test_a_rollback_swaps_champion_and_previous_and_back(challenged: AdapterRegistry) -> None:
    rollback(challenged, NAME, by="ann", reason="complaints")
    assert challenged.aliases(NAME) == {CHAMPION: 1, PREVIOUS: 2, CHALLENGER: 3}
    done = rollback(challenged, NAME, by="ann", reason="false alarm")
    assert challenged.aliases(NAME) == {CHAMPION: 2, PREVIOUS: 1, CHALLENGER: 3}
    assert (done.action, done.champion_before, done.champion_after) == (Action.ROLLBACK, 1, 2)


def test_without_a_previous_champion_there_is_nothing_to_roll_back_to(
    registry: AdapterRegistry, make_bundle: BundleMaker
) -> None:
    registry.register(NAME, make_bundle(), by="ci")
    with pytest.raises(RefusedError, match="no previous champion") as caught:
        rollback(registry, NAME, by="ann", reason="why")
    assert "--disable" in caught.value.advice
    with pytest.raises(MissingError):
        rollback(registry, "other", by="ann", reason="why")


def test_a_rollback_to_an_altered_bundle_is_refused(challenged: AdapterRegistry) -> None:
    (challenged.get(NAME, 1).bundle / "card.md").unlink()
    with pytest.raises(IntegrityError, match=r"card\.md"):
        rollback(challenged, NAME, by="ann", reason="why")
    assert challenged.champion_version(NAME) == 2


def test_of_two_operators_who_promote_at_once_one_wins_and_the_other_is_told(
    open_registry: Callable[[], AdapterRegistry],
    challenged: AdapterRegistry,
    make_bundle: BundleMaker,
    make_decision: DecisionMaker,
) -> None:
    challenged.register(NAME, make_bundle(4), by="ci")
    attach_decision(challenged, NAME, 4, make_decision(2), by="gate")
    barrier = threading.Barrier(2)

    def operate(version: int) -> Transition | Exception:
        registry = open_registry()
        registry.audit._lock_timeout_s = 30
        registry.champion_version(NAME)
        barrier.wait()
        try:
            return promote(registry, NAME, version, by=f"operator-{version}", reason="mine")
        except RefusedError as error:
            return error

    with ThreadPoolExecutor(2) as pool:
        outcomes = list(pool.map(operate, (3, 4)))
    winners = [outcome for outcome in outcomes if isinstance(outcome, Transition)]
    losers = [outcome for outcome in outcomes if isinstance(outcome, RefusedError)]
    assert len(winners) == len(losers) == 1
    assert f"champion {winners[0].champion_after}" in str(losers[0])
    assert challenged.aliases(NAME)[CHAMPION] == winners[0].champion_after
    assert challenged.aliases(NAME)[PREVIOUS] == 2


@pytest.mark.parametrize("killed_at", [1, 2])
def test_a_promotion_killed_between_two_aliases_is_finished_or_taken_back(
    open_registry: Callable[[], AdapterRegistry], challenged: AdapterRegistry, killed_at: int
) -> None:
    dying, calls = open_registry(), []
    real = dying.set_alias

    def die(name: str, alias: str, version: int) -> None:
        calls.append(alias)
        if len(calls) == killed_at:
            raise KilledError
        real(name, alias, version)

    dying.set_alias = die
    with pytest.raises(KilledError):
        promote(dying, NAME, 3, by="ann", reason="please")
    flipped = killed_at == 2
    assert challenged.champion_version(NAME) == (3 if flipped else 2)
    with challenged.writing():
        pass
    expected = {CHAMPION: 3, PREVIOUS: 2} if flipped else {CHAMPION: 2, PREVIOUS: 1, CHALLENGER: 3}
    assert challenged.aliases(NAME) == expected
    assert challenged.history()[-1].step == (Step.DONE if flipped else Step.ABANDONED)


def test_an_operator_is_told_when_the_database_goes_away_half_way(
    challenged: AdapterRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(*_args: object) -> None:
        raise UnavailableError("The database is gone.")

    with monkeypatch.context() as patch:
        patch.setattr(challenged, "set_tags", gone)
        with pytest.raises(UnavailableError, match="half-way"):
            promote(challenged, NAME, 3, by="ann", reason="please")
    with challenged.writing():
        pass
    assert challenged.aliases(NAME) == {CHAMPION: 3, PREVIOUS: 2}
    assert challenged.get(NAME, 3).tags["promoted.by"] == "ann"
