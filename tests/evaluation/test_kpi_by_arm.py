"""Figures of calls by the arm of a split."""

from tests.evaluation.test_kpi import call, report


def test_calls_of_a_split_have_figures_by_arm_and_other_calls_are_in_none() -> None:
    in_split = {"split": "0123456789ab"}
    found = report(
        call("a"),
        call("b", arm="challenger", **in_split),
        call("c", arm="challenger", **in_split),
        call("d", **in_split),
    )
    counted = [(item.name, item.calls) for item in found.arms]
    assert counted == [("0123456789ab/challenger", 2), ("0123456789ab/champion", 1)]
