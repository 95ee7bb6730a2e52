"""An installation for whoever only looks: its adapters and its cache, and nothing that a look could change.

No records are opened, no bank, no key is made, and what calls left behind is taken up by nobody.
"""

import secrets
from collections.abc import Iterator
from contextlib import contextmanager

from pydantic import SecretStr

from serving.call.runtime import Runtime
from serving.settings import Settings
from serving.telemetry.redaction import KEY_BYTES, KEY_FILE
from serving.tools.bank_choice import NONE

_IN_MEMORY = "sqlite://"


def untouched(settings: Settings) -> Settings:
    """The same installation, for parts that open or make files when they are put together.

    Without a key of personal hashes a random one is used, and is forgotten: no entry was made with it.
    """
    changes: dict[str, object] = {"database_url": _IN_MEMORY, "core_banking": NONE}
    if settings.pii_key is None and not (settings.home / KEY_FILE).exists():
        changes["pii_key"] = SecretStr(secrets.token_hex(KEY_BYTES))
    return settings.model_copy(update=changes)


@contextmanager
def looking(settings: Settings) -> Iterator[Runtime]:
    """The parts of an installation with the adapters that serve now; no call can be opened.

    Raises:
        MissingError: there is no adapter at all.
    """
    runtime = Runtime(untouched(settings), voice=False)
    try:
        runtime.adapter.start()
        runtime.dialogue.start()
        yield runtime
    finally:
        runtime.close()
