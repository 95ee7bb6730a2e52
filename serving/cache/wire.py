"""The cache's words as JSON and back, one way for HTTP and for replicas.

What comes back is checked against the types as a whole: a part that is missing, or of another kind, is an
error, never a guess.
"""

import json
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, TypeVar

from serving.cache.types import CacheDecision
from serving.errors import IntegrityError
from serving.plain import plain

if TYPE_CHECKING:
    from pydantic import TypeAdapter

MOST_BYTES = 256 * 1024
"""Of one request or answer; a question has some hundred."""
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class LookupAnswer:
    """A decision, and the generation that stood behind it."""

    decision: CacheDecision
    generation: int


def encode(value: object) -> bytes:
    """JSON in UTF-8; half a surrogate pair, which no JSON can carry, becomes a control character.

    Every cache refuses control characters, so such a text means the same on both sides.
    """
    text = json.dumps(plain(value), ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    try:
        return text.encode()
    except UnicodeEncodeError:
        return "".join("\\u0000" if 0xD800 <= ord(c) <= 0xDFFF else c for c in text).encode()


def decode(kind: type[T], data: bytes | str) -> T:
    """A value of one of the cache's types.

    Raises:
        IntegrityError: it is none.
    """
    from pydantic import ValidationError

    try:
        made: Any = kind  # a class can be hashed, whatever its type variable says
        found: T = _adapter(made).validate_json(data)
    except ValidationError as error:
        # Neither the input nor what pydantic quotes of it is repeated.
        where = ".".join(map(str, error.errors(include_input=False, include_url=False)[0]["loc"]))
        raise IntegrityError(f"What came is no {kind.__name__} ({where or 'not JSON'}).") from None
    return found


@cache
def _adapter(kind: Any) -> "TypeAdapter[Any]":
    from pydantic import TypeAdapter

    return TypeAdapter(kind)
