"""The judge of dialogue adapters: its ruler is right, and adapter, base and champion get the same turns."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from evaluation.tool_calls import report
from serving.errors import InvalidInputError, MissingError
from serving.language.local_llm import LocalLlm
from serving.language.protocols import LlmEvent, LlmRequest, Message, TextDelta, ToolCall
from serving.language.tool_format import prompt_pieces
from serving.speech.protocols import EngineInfo
from tests.serving.adapters.talk import GREETINGS, bundle, talking_base
from tests.training.dialogue.few import few_dialogues
from training.dialogue.base import base_folder
from training.dialogue.bundle import base_name
from training.dialogue.config import changed_config
from training.dialogue.desk import ToolDesk
from training.dialogue.judge import (
    Candidate,
    Looks,
    TestDialogues,
    Turns,
    judge_dialogue_adapter,
)


def talking(folder: Path, test: TestDialogues) -> Path:
    """A scripted base that takes the rules and the tools, which are long, as a token each."""
    with ToolDesk(test.data) as desk:
        pieces = prompt_pieces((Message("user", "Hello?"),), desk.schemas("bank"))
        tools = max((piece.text for piece in pieces), key=len)
    return talking_base(folder, [test.rows[0].system(), tools])


class Oracle:
    """Says what the reference says, in order."""

    info = EngineInfo("oracle", "reference")

    def __init__(self, test: TestDialogues) -> None:
        self._next = iter([m for row in test.rows for m in row.messages if m.role == "assistant"])

    def stream(self, request: LlmRequest) -> Iterator[LlmEvent]:
        message = next(self._next)
        if message.content:
            yield TextDelta(message.content)
        yield from message.tool_calls


class Inventor(Oracle):
    """The same, with an amount of its own making in every call."""

    def stream(self, request: LlmRequest) -> Iterator[LlmEvent]:
        for event in super().stream(request):
            if isinstance(event, ToolCall) and "principal" in event.arguments:
                yield ToolCall(event.id, event.name, {**event.arguments, "principal": 77_777})
            else:
                yield event


@pytest.fixture(scope="module")
def few(data_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> TestDialogues:
    return TestDialogues.of(few_dialogues(data_dir, tmp_path_factory.mktemp("few") / "data"))


def test_the_reference_itself_is_faultless_without_any_intent_adapter(data_dir: Path) -> None:
    test = TestDialogues.of(data_dir)
    with Turns(test) as turns:
        found = report(turns.of("oracle", Oracle(test)))
    assert (found.turns, len(test.rows)) == (test.turns, 112)
    assert found.exact_call is not None
    assert found.hallucinated_number is not None
    assert (found.exact_call.items, found.exact_call.estimate) == (174, 1.0)
    assert found.hallucinated_number.estimate == 0.0


def test_an_amount_that_nobody_gave_is_counted(few: TestDialogues) -> None:
    with Turns(few) as turns:
        found = report(turns.of("inventor", Inventor(few)))
        assert len(turns.seconds) == few.turns
    assert found.hallucinated_number is not None
    assert found.hallucinated_number.estimate > 0


def test_another_word_is_another_test_set(few: TestDialogues, data_dir: Path) -> None:
    assert few.sha256 != TestDialogues.of(data_dir).sha256
    assert TestDialogues.of(data_dir).sha256 == TestDialogues.of(data_dir).sha256
    assert len(TestDialogues.of(data_dir, limit=7).rows) == 7


def test_adapter_base_and_champion_answer_the_same_turns_through_serving_s_loader(
    few: TestDialogues, tmp_path: Path
) -> None:
    base = talking(tmp_path / "base", few)
    new = bundle(tmp_path / "new", base, GREETINGS[1])
    old = bundle(tmp_path / "old", base, GREETINGS[2])
    told: list[tuple[str, int, int]] = []
    found = judge_dialogue_adapter(
        LocalLlm(base),
        few,
        Candidate(new, 2),
        Candidate(old, 1, few.sha256),
        looks=Looks(3, waived={"exact_call": "three turns", "non_inferior": "three turns"}),
        on_progress=lambda *step: told.append(step),
    )
    checks = {check.name: check for check in found.decision.checks}
    assert (found.decision.challenger_version, found.decision.champion_version) == (2, 1)
    assert found.decision.status == "waived"
    assert checks["bundle_sound"].passed
    assert checks["bundle_sound"].evidence["reload_difference"] < 1e-5
    assert checks["same_test_set"].evidence["looks"] == 3
    assert checks["baseline"].evidence["gained"] == checks["baseline"].evidence["lost"] == 0
    assert {who for who, _, _ in told} == {"challenger", "base", "champion"}
    assert told[-1][1:] == (few.turns, few.turns)
    assert found.latency_p95_ms > 0


def test_a_champion_without_a_number_and_a_base_that_is_none_are_refused(
    few: TestDialogues, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = talking_base(tmp_path / "base")
    new = bundle(tmp_path / "new", base, GREETINGS[1])
    with pytest.raises(InvalidInputError, match="version number"):
        judge_dialogue_adapter(LocalLlm(base), few, Candidate(new), Candidate(new))
    assert base_folder(str(base)) == base
    with pytest.raises(InvalidInputError, match="no model folder"):
        base_folder(str(tmp_path))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(MissingError, match="nobody/no-such-model"):
        base_folder("nobody/no-such-model")


def test_a_snapshot_of_the_hub_is_called_by_its_name(tmp_path: Path) -> None:
    assert base_name(tmp_path / "models--owner--name" / "snapshots" / "abc") == "owner/name"
    assert base_name(tmp_path / "mistral-7b") == "mistral-7b"


def test_a_recipe_is_changed_by_name() -> None:
    assert changed_config({"rank": 4}).alpha == 8.0
    assert changed_config({"targets": ["q_proj"]}).targets == ("q_proj",)
    for wrong in ({"ranks": 4}, {"rank": "many"}, {"epochs": 0}):
        with pytest.raises(InvalidInputError):
            changed_config(wrong)
