"""A fault's name says where a bug is, and stays what it is when logs are redacted."""

from pathlib import Path

import pytest

import serving
from serving.call.faults import fault
from serving.errors import EngineError
from serving.telemetry.redaction import redact

MODULES = sorted({path.stem for path in Path(serving.__file__).parent.rglob("*.py")})


def caught(error: Exception) -> Exception:
    try:
        raise error
    except Exception as found:
        return found


def test_a_bug_is_named_with_its_place_and_without_its_words() -> None:
    line = caught.__code__.co_firstlineno + 2
    assert fault("answer", caught(KeyError("4111111111111111"))) == (
        f"answer: KeyError in test_call_faults line {line}"
    )


def test_a_deliberate_error_has_no_place() -> None:
    assert fault("stt", caught(EngineError("card 4111111111111111"))) == "stt: EngineError"


@pytest.mark.parametrize(
    "error", [KeyError("x"), EngineError("x"), UnicodeDecodeError("utf-8", b"", 0, 1, "x")]
)
def test_redaction_leaves_a_fault_alone(error: Exception) -> None:
    name = fault("answer", caught(error))
    assert redact(name).text == name


@pytest.mark.parametrize("module", MODULES)
def test_redaction_leaves_the_place_in_any_of_our_modules_alone(module: str) -> None:
    try:
        exec(compile("\n" * 41 + "raise KeyError", f"/srv/{module}.py", "exec"))
    except KeyError as error:
        name = fault("answer", error)
    assert name == f"answer: KeyError in {module} line 42"
    assert redact(name).text == name
