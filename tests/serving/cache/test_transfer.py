"""Entries as a file and back: what is written is what is read, and anything else is refused by its line."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.cache.protocol import Offer
from serving.cache.transfer import Transfer, read_transfer, to_lines
from serving.errors import InvalidInputError
from tests.properties import examples
from tests.serving.cache_world import NOON, SCOPE, entry

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=80)


@given(question=TEXT, answer=TEXT, disclosures=st.lists(TEXT, max_size=3), ends=st.booleans())
@examples(60)
def test_what_is_written_is_what_is_read(
    tmp_path_factory: pytest.TempPathFactory,
    question: str,
    answer: str,
    disclosures: list[str],
    ends: bool,
) -> None:
    made = entry(question, answer, disclosures=tuple(disclosures), expires_at=NOON if ends else None)
    path = tmp_path_factory.mktemp("transfer") / "cache.jsonl"
    path.write_text("".join(f"{line}\n" for line in to_lines(SCOPE, [made])), encoding="utf-8")
    offer = Offer(
        question, made.intent, answer, tuple(disclosures), made.source, expires_at=NOON if ends else None
    )
    assert read_transfer(path) == Transfer(SCOPE, (offer,))


GOOD = list(to_lines(SCOPE, [entry()]))
ONE = json.loads(GOOD[1])


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        ([], "empty"),
        (["not json"], "line 1"),
        (["[]"], "line 1"),
        (['{"format": "something else"}'], "line 1"),
        (['{"format": "voicebot-cache-1"}'], "line 1"),
        (['{"format": "voicebot-cache-1", "scope": {"tenant": "x"}}'], "line 1"),
        ([GOOD[0], "{"], "line 2"),
        ([GOOD[0], GOOD[1], "[" * 60_000], "line 3"),
        ([GOOD[0], " " * 65_000 + "{}"], "line 2"),
        ([GOOD[0], json.dumps(ONE | {"accuracy": 1.0})], "line 2"),
        ([GOOD[0], json.dumps({"question": "x"})], "line 2"),
        ([GOOD[0], json.dumps(ONE | {"answer": 5})], "line 2"),
        ([GOOD[0], json.dumps(ONE | {"disclosures": "abc"})], "line 2"),
        ([GOOD[0], json.dumps(ONE | {"disclosures": [1]})], "line 2"),
        ([GOOD[0], json.dumps(ONE | {"expires_at": "tomorrow"})], "line 2"),
        ([GOOD[0], json.dumps(ONE | {"expires_at": "2026-11-20T12:00:00"})], "line 2"),
    ],
)
def test_a_line_that_nobody_wrote_so_is_named(tmp_path: Path, lines: list[str], told: str) -> None:
    path = tmp_path / "cache.jsonl"
    path.write_text("\n".join(lines), encoding="utf-8")
    with pytest.raises(InvalidInputError, match=told):
        read_transfer(path)


def test_a_file_that_is_not_there_or_no_text_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="cannot be read"):
        read_transfer(tmp_path / "none")
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InvalidInputError, match="cannot be read"):
        read_transfer(tmp_path / "binary")


def test_a_file_holds_no_feedback_vectors_or_signatures() -> None:
    assert ONE.keys() == {"question", "intent", "answer", "disclosures", "source", "expires_at"}
