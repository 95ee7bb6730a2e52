"""docs/cache.md has a worked example for each reason, and each of them is what the cache decides."""

import pytest

from serving.cache.protocol import Refusal
from serving.cache.types import Reason
from serving.language.encoder import SentenceEncoder
from tests.cache_reasons import PAGE, ApprovedCache, Example, examples

SHOWN = examples()
CERTIFIED = {Reason.SEMANTIC, Reason.THRESHOLD, Reason.SIGNATURE, Reason.ACCURACY}
"""Reasons that are reached only where the certified rule has spoken."""


@pytest.fixture(scope="module")
def approved(encoder: SentenceEncoder, tmp_path_factory: pytest.TempPathFactory) -> ApprovedCache:
    return ApprovedCache(tmp_path_factory.mktemp("worked"), encoder)


def test_every_reason_of_a_decision_and_of_a_refusal_is_on_the_page() -> None:
    assert {row.reason for row in SHOWN} == set(Reason)
    text = PAGE.read_text(encoding="utf-8")
    assert [refusal for refusal in Refusal if f"`{refusal}`" not in text] == []


def test_what_a_new_calibration_may_move_is_marked() -> None:
    assert {row.reason for row in SHOWN if row.certified} == CERTIFIED
    assert all(row.certified for row in SHOWN if row.reason in CERTIFIED)


@pytest.mark.parametrize("row", SHOWN, ids=lambda row: f"{row.reason}: {row.asked[:40]}")
def test_a_worked_example_is_decided_as_the_page_says(row: Example, approved: ApprovedCache) -> None:
    found = approved.decide(row)
    told = f"{found.detail}; `python -m tests.cache_reasons` prints the rows as they are now"
    assert (found.outcome, found.reason) == (row.outcome, row.reason), told
