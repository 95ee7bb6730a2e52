"""A verified customer of the sandbox bank on the telephone, for the tests of calls about accounts."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from serving.call.record import CallRecord
from serving.call.responder import Responder
from serving.call.toolbox import Banking, Toolbox
from serving.language.protocols import Llm
from serving.tools.sandbox_bank import SandboxBank
from serving.tools.sandbox_people import FIRST
from tests.serving.call.phone import RULES, SCOPE, TODAY, Bank, KeywordTagger, knowledge, toolbox, typed

BANK_RULES = (
    ("balance", "account_balance"), ("transactions", "recent_transactions"), ("block", "block_card"),
    ("arrears", "agree_payment_plan"), ("call me", "request_callback"), ("stolen", "lost_or_stolen_card"),
    ("cannot pay", "payment_difficulty"), *RULES,
)  # fmt: skip
IDENTITY = (FIRST.number, "May 3 1971")


def sandbox_in(folder: Path) -> SandboxBank:
    """A small bank of its own."""
    return SandboxBank(folder / "sandbox" / "bank.db", today=lambda: TODAY, customers=3)


def box_of(bank: Bank, sandbox: SandboxBank, llm: Llm | None = None) -> Toolbox:
    """What calls share, with the sandbox's customers."""
    return replace(toolbox(bank.cache_folder, llm), banking=Banking.of(sandbox, timeout_s=5.0))


def responder_of(box: Toolbox, *, survey: bool = False) -> Responder:
    """Goes by phrases."""
    return Responder(box, KeywordTagger(rules=BANK_RULES), SCOPE, ask_survey=survey)


def call(bank: Bank, sandbox: SandboxBank, lines: Sequence[str], *, llm: Llm | None = None) -> CallRecord:
    """A typed call, as the database has it."""
    box = box_of(bank, sandbox, llm)
    return bank.call(typed(*lines), responder=responder_of(box), box=box)


def done(sandbox: SandboxBank) -> list[str]:
    """What was changed at the bank, in order."""
    return [row["action"] for row in sandbox.audit() if row["action"] != "verify"]


def phrase(name: str, **fields: str) -> str:
    """One of the bot's phrases, filled."""
    return knowledge().prompt(name).format(**fields)
