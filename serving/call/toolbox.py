"""What all calls of a server share: knowledge, cache, engines, tools, and the bank's own facts."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date

from serving.cache.lookup import SemanticCache
from serving.cache.signature import Signer
from serving.language.knowledge import Knowledge
from serving.language.protocols import Llm
from serving.tools.executor import ToolExecutor


@dataclass(frozen=True, slots=True)
class Toolbox:
    """What a responder works with besides its adapter.

    Attributes:
        fallback: engine that takes over when `llm` fails: the embedded responder.
        notice_flows: id of a compliance wording → its flow type.
        confirm_below: recognition confidence under which decisive values are read back first.
        today: the bank's day.
        currency: of amounts that name none, ISO 4217.
        greeting: what every call begins with, notices included.
    """

    knowledge: Knowledge
    signer: Signer
    cache: SemanticCache
    llm: Llm
    fallback: Llm
    executor: ToolExecutor
    notice_flows: Mapping[str, str]
    confirm_below: float
    today: Callable[[], date]
    currency: str
    bank_name: str
    greeting: str

    def phrase(self, name: str, **fields: str) -> str:
        """One of the bot's phrases, filled.

        Raises:
            MissingError: the knowledge lacks it.
        """
        return self.knowledge.prompt(name).format(bank_name=self.bank_name, **fields)
