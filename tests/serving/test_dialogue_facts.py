"""`dialogue.json` of a bundle: what was saved is read again, and what nobody could check by is refused."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from serving.errors import IntegrityError
from serving.language.dialogue_adapter import DIALOGUE_FILE, SCHEMA, DialogueFacts, DialogueProbe

FACTS = DialogueFacts(
    base="ministral-8b",
    weights_sha256="a" * 64,
    tokenizer_sha256="b" * 64,
    prompt_sha256="c" * 64,
    tools=("bank",),
    precision="float32",
    probes=(DialogueProbe("What would a loan cost me?", "How much would you like?", 1.25),),
)
PROBE: Mapping[str, Any] = {"question": "Hello?", "answer": "Good day.", "loss": 1.0}


def test_facts_are_read_as_they_were_saved(tmp_path: Path) -> None:
    FACTS.save(tmp_path)
    assert DialogueFacts.load(tmp_path) == FACTS


@pytest.mark.parametrize(
    "changed",
    [
        {"probes": []},
        {"probes": [PROBE] * 1_000},
        {"probes": [{**PROBE, "loss": "low"}]},
        {"probes": [{**PROBE, "loss": float("nan")}]},
        {"probes": [PROBE, {**PROBE, "loss": float("inf")}]},
        {"probes": [{**PROBE, "question": 1}]},
        {"probes": [{**PROBE, "answer": ""}]},
        {"probes": 3},
        {"weights_sha256": 5},
        {"precision": []},
        {"schema": SCHEMA + 1},
        {"more": 1},
    ],
    ids=str,
)
def test_facts_by_which_nothing_can_be_checked_are_refused(changed: dict[str, Any], tmp_path: Path) -> None:
    """Without a known answer an adapter that talks nonsense would pass for a sound one."""
    FACTS.save(tmp_path)
    path = tmp_path / DIALOGUE_FILE
    path.write_text(json.dumps(json.loads(path.read_text()) | changed))
    with pytest.raises(IntegrityError, match=r"dialogue\.json of the adapter cannot be used"):
        DialogueFacts.load(tmp_path)
