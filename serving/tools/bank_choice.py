"""Which bank callers talk to: the sandbox, none, or a real one behind the same port."""

import importlib
from collections.abc import Callable
from datetime import date
from typing import TYPE_CHECKING, cast

from serving.errors import InvalidInputError, MissingError
from serving.tools.core_banking import CoreBanking

if TYPE_CHECKING:
    from serving.settings import Settings

SANDBOX, NONE = "sandbox", "none"


def open_bank(settings: "Settings", today: Callable[[], date]) -> CoreBanking | None:
    """The bank that `core_banking` names; None for none.

    A real bank is named as `package.module:function`; the function takes the settings and the bank's day and
    gives something that implements `CoreBanking`.

    Raises:
        MissingError: no such module or function.
        InvalidInputError: what the function gave is no core bank.
    """
    name = settings.core_banking
    if name == NONE:
        return None
    if name == SANDBOX:
        from serving.tools.sandbox_bank import SandboxBank

        return SandboxBank(settings.home / "sandbox-bank.db", today=today)
    module, _, function = name.partition(":")
    try:
        make = getattr(importlib.import_module(module), function)
    except (ImportError, AttributeError) as error:
        raise MissingError(
            f"The core bank {name!r} cannot be loaded ({error}).",
            advice="Set VOICEBOT_CORE_BANKING to package.module:function, to sandbox or to none.",
        ) from error
    bank = make(settings, today)
    if not hasattr(bank, "customer_number_digits"):
        raise InvalidInputError(f"{name} gave a {type(bank).__name__}, which is no core bank.")
    return cast("CoreBanking", bank)
