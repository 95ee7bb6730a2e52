"""What may be reused at all: an offered answer becomes an entry here, or is refused with a reason.

Every writer of the cache (a call, a flow, an import) passes this door, so what it refuses is in no cache. It
judges one offer against the bank's approved knowledge and against what the scope holds already; it stores
nothing and asks no model. Evidence names kinds and figures, never a caller's words.
"""

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time

from serving.cache.compliance import Wordings
from serving.cache.figures import personal_kinds, personal_values, shown, unknown_figures
from serving.cache.protocol import Insertion, Offer, Refusal
from serving.cache.signature import Signature, Signer
from serving.cache.types import CacheEntry, CacheScope, exact_key
from serving.cache.wording import MAX_ANSWER_CHARS, MAX_QUESTION_CHARS, text_fault
from serving.language.injection import InjectionGuard
from serving.language.knowledge import Answer, Cacheability, Knowledge
from serving.tools.money import percent
from serving.tools.rates import RateRow, RateSheet

KNOWLEDGE = "knowledge:"
"""Source of an approved answer, before its id."""
MAX_SOURCE_CHARS = 200
"""Longest name of an engine or of an approved answer."""


@dataclass(frozen=True, slots=True)
class Admission:
    """Turns offers into entries.

    Attributes:
        knowledge: approved answers; they say how far an intent may be reused, and which figures an answer
            may state.
        signer: makes the signatures of the questions.
        guard: knows words that try to make the bot break its rules.
        rates: rate sheet whose rates may be stated, until they end; None for none.
        wordings: texts that are only ever spoken verbatim from their own register; None for none.
        approved_in: `CacheScope.knowledge` of the scopes that this is the knowledge of; None judges for every
            scope.
    """

    knowledge: Knowledge
    signer: Signer
    guard: InjectionGuard
    rates: RateSheet | None = None
    wordings: Wordings | None = None
    approved_in: frozenset[str] | None = None

    def admit(
        self, offer: Offer, scope: CacheScope, *, now: datetime, held: Iterable[CacheEntry] = ()
    ) -> Insertion:
        """The entry of an offer, or the refusal.

        Args:
            offer: what somebody would like to reuse.
            scope: where it would go.
            now: UTC time.
            held: entries of the scope with the same words, of any intent; others are left aside.
        """
        if self.approved_in is not None and scope.knowledge not in self.approved_in:
            return Insertion(refusal=Refusal.NO_SCOPE, detail="the scope is of other knowledge than is here")
        refused = next(self._refusals(offer, now), None)
        if refused is not None:
            return Insertion(refusal=refused[0], detail=refused[1])
        entry = self._entry(offer, scope, now)
        other = next((it for it in held if _contradicts(it, entry, now)), None)
        if other is not None:
            return Insertion(refusal=Refusal.CONFLICT, detail=f"entry {other.id[:12]} has another answer")
        return Insertion(entry)

    def _refusals(self, offer: Offer, now: datetime) -> Iterator[tuple[Refusal, str]]:
        """Every reason against an offer, the surest first."""
        if self.knowledge.cacheability(offer.intent) is Cacheability.NEVER:
            yield Refusal.NOT_CACHEABLE, "answers of this intent are never reused"
        if offer.tools:
            yield Refusal.TOOL_RESULT, f"{len(offer.tools)} tools ran for it"
        for which, text, longest in (
            ("question", offer.question, MAX_QUESTION_CHARS),
            ("answer", offer.answer, MAX_ANSWER_CHARS),
        ):
            fault = text_fault(text, longest)
            if fault is not None:
                yield Refusal(fault[0].value), f"{which}: {fault[1]}"
        yield from _named(offer.source)
        for which, text in (("question", offer.question), ("answer", offer.answer)):
            group = self.guard.found(text)
            if group:
                yield Refusal.INJECTION, f"{which}: {group}"
        if offer.expires_at is not None and offer.expires_at <= now:
            yield Refusal.EXPIRED, f"it ended at {offer.expires_at.isoformat()}"
        best = self._approved(offer, now)
        if best is None:
            ended = any(it.valid_until and it.valid_until < now.date() for it in self._answers(offer))
            refusal = Refusal.EXPIRED if ended else Refusal.NOT_CACHEABLE
            yield refusal, "no approved answer is in force for this question"
        yield from self._personal(offer, best)
        if self._points_back(offer, best):
            yield Refusal.CONTEXT, "the question means little without the turns before it"
        yield from self._worded(offer, best)
        yield from self._untrue(offer, best, now)

    def _answers(self, offer: Offer) -> list[Answer]:
        return [answer for answer in self.knowledge.answers if answer.intent == offer.intent]

    def _approved(self, offer: Offer, now: datetime) -> Answer | None:
        """The approved answer to the question, if there is one today."""
        return self.knowledge.best(offer.intent, self.signer.lexicon.found(offer.question), now.date())

    def _personal(self, offer: Offer, best: Answer | None) -> Iterator[tuple[Refusal, str]]:
        kinds = personal_kinds(offer.question)
        if offer.personal or kinds:
            yield Refusal.PERSONAL_QUESTION, f"the question held {', '.join(kinds) or 'personal data'}"
        if _names_a_person(self.signer.sign(offer.question)):
            yield Refusal.PERSONAL_QUESTION, "the question names a person"
        # Approved wording may hold numbers of the bank's own.
        if best is None or offer.answer != best.text:
            known = personal_values(best.text) if best is not None else frozenset()
            if personal_values(offer.answer) - known or (personal_kinds(offer.answer) and not known):
                yield Refusal.PERSONAL_ANSWER, f"the answer holds {', '.join(personal_kinds(offer.answer))}"
            elif _names_a_person(self.signer.sign(offer.answer)):
                yield Refusal.PERSONAL_ANSWER, "the answer names a person"

    def _points_back(self, offer: Offer, best: Answer | None) -> bool:
        if offer.context_dependent:
            return True
        approved = best is not None and offer.question in best.questions
        return not approved and self.signer.lexicon.points_back(offer.question)

    def _worded(self, offer: Offer, best: Answer | None) -> Iterator[tuple[Refusal, str]]:
        """Compliance wording belongs beside an answer, by name, and never into it."""
        if "{" in offer.answer or "}" in offer.answer:
            yield Refusal.COMPLIANCE, "the answer is a template"
        if self.wordings is not None:
            found = self.wordings.within(offer.answer)
            # What is approved may quote a wording, and then comes with it.
            if found and not (best is not None and self.wordings.within(best.text)):
                yield Refusal.COMPLIANCE, f"the answer holds words of {found}"
            unknown = sorted(set(offer.disclosures) - self.wordings.ids)
            if unknown:
                yield Refusal.COMPLIANCE, f"{len(unknown)} wordings that it names are not known"
        if best is not None and not set(best.disclosures) <= set(offer.disclosures):
            missing = sorted(set(best.disclosures) - set(offer.disclosures))
            yield Refusal.COMPLIANCE, f"the answer must come with {', '.join(missing)}"

    def _untrue(self, offer: Offer, best: Answer | None, now: datetime) -> Iterator[tuple[Refusal, str]]:
        """What is stated must be what the bank approved for this question."""
        if offer.source.startswith(KNOWLEDGE):
            named = offer.source.removeprefix(KNOWLEDGE)
            if best is None or (best.id, best.text) != (named, offer.answer):
                told = best.id if best is not None else "no answer"
                yield Refusal.CONFLICT, f"the knowledge answers this question with {told}"
        approved = [best.text] if best is not None else []
        rates = [f"{percent(row.annual_rate)} percent" for row in self._rates(offer, now.date())]
        unknown = unknown_figures(offer.answer, [*approved, *rates], currency=self.signer.currency)
        if unknown:
            yield Refusal.NUMBER, f"{shown(unknown)}: not in what is approved for this question"

    def _rates(self, offer: Offer, today: date) -> list[RateRow]:
        """Rows of the sheet that hold today for the products that the question names."""
        if self.rates is None:
            return []
        products = self.signer.lexicon.found(offer.question).get("product", ())
        return [
            row
            for row in self.rates.rows
            if row.product in products and row.valid_from <= today <= row.valid_until
        ]

    def _ends(self, offer: Offer, best: Answer | None, now: datetime) -> datetime | None:
        """When the answer must not be served any more: as soon as anything that it rests on ends."""
        ends = [] if offer.expires_at is None else [offer.expires_at]
        if best is not None and best.valid_until is not None:
            ends.append(_end_of(best.valid_until))
        unknown = unknown_figures(
            offer.answer, [best.text] if best is not None else [], currency=self.signer.currency
        )
        if unknown:  # what the approved text does not state is from the rate sheet
            ends += [_end_of(row.valid_until) for row in self._rates(offer, now.date())]
        return min(ends, default=None)

    def _entry(self, offer: Offer, scope: CacheScope, now: datetime) -> CacheEntry:
        return CacheEntry(
            id=entry_id(scope, offer.intent, offer.question),
            scope=scope.key,
            intent=offer.intent,
            cacheability=self.knowledge.cacheability(offer.intent),
            question=offer.question,
            signature=self.signer.sign(offer.question),
            answer=offer.answer,
            disclosures=offer.disclosures,
            source=offer.source,
            created_at=now,
            expires_at=self._ends(offer, self._approved(offer, now), now),
        )


def entry_id(scope: CacheScope, intent: str, question: str) -> str:
    """Id of the entry for these words: the same in every process, another one in every scope."""
    identity = "\x1f".join((scope.key, intent, exact_key(question)))
    return hashlib.sha256(identity.encode("utf-8", "surrogatepass")).hexdigest()[:32]


def _named(source: str) -> Iterator[tuple[Refusal, str]]:
    """What is against a source: it is stored, exported and sent to replicas as it came."""
    if len(source) > MAX_SOURCE_CHARS or not source.isascii() or not source.isprintable():
        yield Refusal.UNREADABLE, "source: it is no name of an engine or an answer"


def _contradicts(held: CacheEntry, entry: CacheEntry, now: datetime) -> bool:
    """Whether an entry that is in force gives another answer to the same words."""
    in_force = held.expires_at is None or held.expires_at > now
    same_words = held.scope == entry.scope and exact_key(held.question) == exact_key(entry.question)
    return in_force and same_words and (held.answer, held.disclosures) != (entry.answer, entry.disclosures)


def _names_a_person(signature: Signature) -> bool:
    return any(name == "person" or name.startswith("personal_") for name, _ in signature.facets)


def _end_of(day: date) -> datetime:
    """The last moment of a day."""
    return datetime.combine(day, time.max, UTC)
