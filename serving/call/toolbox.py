"""What all calls of a server share: knowledge, cache, engines, tools, and the bank's own facts."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from string import Formatter

from serving.cache.signature import Signer
from serving.call.patience import Patience
from serving.call.ports import AskedCache
from serving.call.shadow import ShadowChecks
from serving.errors import InvalidInputError
from serving.language.embedded import PHRASES as ENGINE_PHRASES
from serving.language.injection import InjectionGuard, load_injection_guard
from serving.language.knowledge import Knowledge
from serving.language.protocols import Llm
from serving.language.roles import Role
from serving.settings import default_data_dir
from serving.tools.core_banking import CoreBanking, Refusal
from serving.tools.customer_tools import customer_tools
from serving.tools.executor import IdempotencyStore, ToolExecutor


@dataclass(frozen=True, slots=True)
class Banking:
    """The customers' side of a bank; its tools are kept apart from those that engines are offered.

    Attributes:
        number_digits: length of a customer number.
    """

    executor: ToolExecutor
    number_digits: int

    @classmethod
    def of(cls, bank: CoreBanking, *, timeout_s: float, writes: IdempotencyStore | None = None) -> "Banking":
        """The tools of a bank's customers, ready to run.

        Args:
            bank: the port.
            timeout_s: time limit of a tool, seconds.
            writes: where idempotency keys are kept besides the bank itself.
        """
        executor = ToolExecutor(customer_tools(bank), timeout_s=timeout_s, writes=writes)
        return cls(executor, bank.customer_number_digits)


@dataclass(frozen=True, slots=True)
class Toolbox:
    """What a responder works with besides its adapter.

    Attributes:
        fallback: engine that takes over when `llm` fails: the embedded responder.
        notice_flows: id of a compliance wording → its flow type.
        confirm_below: recognition confidence under which decisive values are read back first.
        today: the bank's day.
        currency: of amounts that name none, ISO 4217.
        greeting: the phrase that every call begins with.
        patience: how long `llm` is waited for.
        guard: knows words that try to make the bot break its rules.
        shadow: checks some answers from the cache later; None checks none.
        banking: what callers can have done on their own accounts; None where the bot has no access.
    """

    knowledge: Knowledge
    signer: Signer
    cache: AskedCache
    llm: Llm
    fallback: Llm
    executor: ToolExecutor
    notice_flows: Mapping[str, str]
    confirm_below: float
    today: Callable[[], date]
    currency: str
    bank_name: str
    greeting: str
    patience: Patience
    guard: InjectionGuard = field(default_factory=lambda: _guard_of(default_data_dir()))
    banking: Banking | None = None
    shadow: ShadowChecks | None = None

    def phrase(self, name: str, **fields: str) -> str:
        """One of the bot's phrases, filled.

        Raises:
            MissingError: the knowledge lacks it.
        """
        return self.knowledge.prompt(name).format(bank_name=self.bank_name, **fields)


def _guard_of(data: Path) -> InjectionGuard:
    return load_injection_guard(data / "lexicons" / "injection.yaml")


PHRASES: Mapping[str, frozenset[str]] = {
    **{
        name: frozenset({"bank_name"})
        for name in (
            "greeting", "greeting_again", "thanks", "goodbye", "affirm_without_question", "repeat_nothing",
            "deny_without_question", "low_confidence", "reprompt_2", "too_long", "apology", "transfer",
            "out_of_scope", "out_of_scope_again", "confirm_again",
        )
    },
    "repeat": frozenset({"bank_name", "answer"}),
    "confirm_values": frozenset({"bank_name", "values"}),
    **{f"doubt_{role}": frozenset({"bank_name", "words"}) for role in Role},
    **{
        name: frozenset({"bank_name"})
        for name in (
            "injection", "still_there", "silent_goodbye", "filler",
            "bank_unavailable", "bank_write_unclear", "bank_write_not_done", "bank_again", "bank_unsure",
            "bank_denied",
            "verify_number", "verify_go_on", "verify_birth_date", "verify_birth_date_again", "verify_failed",
            "verify_gave_up", "verified", "anything_else", "plan_amount", "callback_time", "block_card_done",
            "offer_block_card", "offer_agree_payment_plan", "survey_settled", "survey_rating",
        )
    },
    **{f"bank_{refusal}": frozenset({"bank_name", "least"}) for refusal in Refusal},
    "verify_number_again": frozenset({"bank_name", "digits"}),
    **dict.fromkeys(("balance_have", "balance_owe"), frozenset({"bank_name", "account", "balance"})),
    "transactions": frozenset({"bank_name", "account", "list"}),
    "block_which": frozenset({"bank_name", "cards"}),
    **dict.fromkeys(("block_card_of", "block_confirm"), frozenset({"bank_name", "card", "ending"})),
    "plan_confirm": frozenset({"bank_name", "payment", "payments", "day", "overdue"}),
    "agree_payment_plan_done": frozenset({"bank_name", "payments", "day"}),
    "callback_confirm": frozenset({"bank_name", "day", "part", "ending"}),
    "request_callback_done": frozenset({"bank_name", "day", "part"}),
}  # fmt: skip
"""The call's own phrases, and what each may be filled with."""


def check_phrases(knowledge: Knowledge) -> None:
    """Make sure, before the first call, that no phrase is missing in the middle of one.

    Raises:
        MissingError: the knowledge lacks a phrase.
        InvalidInputError: a phrase has a hole that nothing fills.
    """
    for name, fields in {**PHRASES, **ENGINE_PHRASES}.items():
        try:
            holes = {hole for _, hole, _, _ in Formatter().parse(knowledge.prompt(name)) if hole is not None}
        except ValueError as error:
            raise InvalidInputError(f"The phrase {name!r} is no template: {error}.") from error
        if not holes <= fields:
            raise InvalidInputError(
                f"The phrase {name!r} asks for {', '.join(sorted(holes - fields))!r}; "
                f"it can have {', '.join(sorted(fields)) or 'nothing'}."
            )
