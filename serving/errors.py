"""Every failure that voicebot reports on purpose.

An error says what was wrong, what to do about it (`advice`), which family it belongs to
(`category`, which also fixes a command's exit code) and whether trying again can help
(`retryable`). Engines translate their library's exceptions into these at their boundary,
so a caller of serving never catches `RuntimeError`.
"""

from enum import StrEnum


class Category(StrEnum):
    """Families of failure; each maps to one exit code of the commands."""

    INVALID_INPUT = "invalid_input"
    """What was given cannot be used: a negative amount, a corrupt WAV, an unknown setting."""
    REFUSED = "refused"
    """Understood and declined by a rule: the gate said no, the champion cannot be deleted."""
    MISSING = "missing"
    """Something needed is not there yet: no adapter registered, no model file."""
    UNAVAILABLE = "unavailable"
    """A dependency does not answer now: a locked database, an API that is down."""
    INTEGRITY = "integrity"
    """Stored data is not what was written: a checksum differs, a file is gone."""
    ENGINE = "engine"
    """An engine broke while working."""


EXIT_CODES: dict[Category, int] = {
    Category.REFUSED: 1,
    Category.INVALID_INPUT: 2,
    Category.MISSING: 3,
    Category.UNAVAILABLE: 4,
    Category.INTEGRITY: 5,
    Category.ENGINE: 6,
}
"""Exit code of a command by category (0 is success; 1 is also a negative verdict)."""


class VoicebotError(Exception):
    """Base of every deliberate error.

    Args:
        message: what was wrong and what was expected, in one sentence, without personal data.
        advice: what the reader can do next, in one sentence; empty where the message says it.
    """

    category: Category = Category.ENGINE
    retryable: bool = False

    def __init__(self, message: str, *, advice: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.advice = advice

    def __str__(self) -> str:
        return f"{self.message} {self.advice}".strip()

    @property
    def exit_code(self) -> int:
        """Exit code of a command that ends with this error."""
        return EXIT_CODES[self.category]


class InvalidInputError(VoicebotError):
    """The input cannot be used as it is."""

    category = Category.INVALID_INPUT


class RefusedError(VoicebotError):
    """A rule of the bank or of this program declines the request."""

    category = Category.REFUSED


class MissingError(VoicebotError):
    """Something that must exist first does not."""

    category = Category.MISSING


class UnavailableError(VoicebotError):
    """A dependency does not answer now; a later try may succeed."""

    category = Category.UNAVAILABLE
    retryable = True


class EngineTimeoutError(UnavailableError):
    """An engine or a service took longer than its time limit (seconds, in the message)."""


class IntegrityError(VoicebotError):
    """Stored data differs from what was recorded when it was written."""

    category = Category.INTEGRITY


class EngineError(VoicebotError):
    """An engine failed while working on valid input."""

    category = Category.ENGINE
    retryable = True
