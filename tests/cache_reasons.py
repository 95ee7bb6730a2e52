"""The table of worked examples in docs/cache.md, and what the cache decides for each of its rows.

    python -m tests.cache_reasons            # all rows as they are now, to put into the page

A row's question may end with a circumstance that is made here ("…, after a person said `wrong`"). Rows marked
with * rest on the certified rule, so a new calibration moves their scores.
"""

import re
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from serving.cache.alone import open_cache, scope_of
from serving.cache.build import build_from_knowledge
from serving.cache.local import LocalCache
from serving.cache.protocol import Feedback, HitRule, Offer, Signal
from serving.cache.rule import CertifiedRule
from serving.cache.store import FILE
from serving.cache.types import CacheDecision, CacheScope
from serving.language.protocols import Embedder
from serving.settings import Settings
from tests.docs_check import ROOT

PAGE = ROOT / "docs" / "cache.md"
_ROW = re.compile(
    r"^\| `(?P<reason>\w+)`(?P<mark> \*)? \| (?P<asked>.+) \((?P<intent>\w+)\) \| (?P<outcome>\w+) \|"
)
_LONG = "1,800 characters"


@dataclass(frozen=True, slots=True)
class Example:
    """A row of the table.

    Attributes:
        asked: question and circumstance as the page has them.
        certified: marked as resting on the certified rule.
    """

    reason: str
    asked: str
    intent: str
    outcome: str
    certified: bool

    @property
    def circumstance(self) -> str:
        """What of `CIRCUMSTANCES` holds when it is asked; empty for nothing."""
        return next((each for each in CIRCUMSTANCES if self.asked.endswith(f", {each}")), "")

    @property
    def question(self) -> str:
        """The words that are asked."""
        words = self.asked.removesuffix(f", {self.circumstance}") if self.circumstance else self.asked
        return "loan " * 360 if words == _LONG else words


def examples() -> list[Example]:
    """The rows of the page's table, in order."""
    table = PAGE.read_text(encoding="utf-8").partition("### Every reason once")[2]
    rows = [_ROW.match(line) for line in table.splitlines() if line.startswith("| `")]
    found = [
        Example(row["reason"], row["asked"], row["intent"], row["outcome"], row["mark"] is not None)
        for row in rows
        if row is not None
    ]
    if len(found) < len(rows):
        raise ValueError(f"{PAGE.name}: {len(rows) - len(found)} rows of the table cannot be read")
    return found


class ApprovedCache:
    """The project's cache, in which each circumstance has a scope of its own.

    Args:
        home: an empty folder.
        embedder: the sentence encoder; default: the one of the settings.
    """

    def __init__(self, home: Path, embedder: Embedder | None = None) -> None:
        self.cache = open_cache(Settings(home=home), embedder=embedder)
        self._home = home
        self._made: set[str] = set()

    def decide(self, example: Example) -> CacheDecision:
        """What the cache decides for a row."""
        return CIRCUMSTANCES.get(example.circumstance, ApprovedCache.asked)(self, example)

    def asked(self, example: Example) -> CacheDecision:
        """As it is, with all approved answers to that intent."""
        return self._lookup(self.cache, example, self._built(example))

    def without_calibration(self, example: Example) -> CacheDecision:
        rule = self.cache.reader.rule
        assert isinstance(rule, CertifiedRule)
        return self._lookup(self._other(rule=CertifiedRule(rule.scorer, None)), example, self._built(example))

    def of_another_tenant(self, example: Example) -> CacheDecision:
        return self._lookup(self.cache, example, scope_of(self.cache, "nobody"))

    def disagreed(self, example: Example) -> CacheDecision:
        return self._told(example, Signal.SHADOW_DISAGREES)

    def said_wrong(self, example: Example) -> CacheDecision:
        return self._told(example, Signal.WRONG)

    def out_of_date(self, example: Example) -> CacheDecision:
        scope = scope_of(self.cache, "expired")
        self.cache.create_scope(scope, actor="docs")
        approved = next(it for it in self.cache.admission.knowledge.answers if it.intent == example.intent)
        until = datetime.now(UTC) + timedelta(days=1)
        offer = Offer(example.question, example.intent, approved.text, expires_at=until)
        assert self.cache.insert(offer, scope, actor="docs").entry
        return self._lookup(self._other(now=lambda: until + timedelta(seconds=1)), example, scope)

    def damaged(self, example: Example) -> CacheDecision:
        folder = self._home / "damaged"
        folder.mkdir()
        (folder / FILE).write_bytes(b"this is no database" * 100)
        return self._lookup(self._other(folder), example, self._built(example))

    def _told(self, example: Example, signal: Signal) -> CacheDecision:
        scope = self._built(example)
        entry = self._lookup(self.cache, example, scope).entry
        assert entry is not None
        self.cache.feedback(Feedback(entry.id, signal, datetime.now(UTC), "docs", "docs"))
        return self._lookup(self.cache, example, scope)

    def _built(self, example: Example) -> CacheScope:
        """A scope of the circumstance with the approved answers to an intent, built once."""
        cache = self.cache
        scope = scope_of(cache, f"{example.circumstance}:{example.intent}")
        if scope.key not in self._made:
            self._made.add(scope.key)
            knowledge, signer = cache.admission.knowledge, cache.admission.signer
            answers = tuple(it for it in knowledge.answers if it.intent == example.intent)
            some, embedder = replace(knowledge, answers=answers), cache.reader.embedder
            now = datetime.now(UTC)
            build_from_knowledge(cache.folder, scope, some, signer, embedder, actor="docs", now=now)
        return scope

    def _other(
        self,
        folder: Path | None = None,
        *,
        rule: HitRule | None = None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> LocalCache:
        cache = self.cache
        rule = rule or cache.reader.rule
        return LocalCache(folder or cache.folder, cache.reader.embedder, cache.admission, rule, now=now)

    def _lookup(self, cache: LocalCache, example: Example, scope: CacheScope) -> CacheDecision:
        return cache.lookup(cache.query(example.question, example.intent), scope)


CIRCUMSTANCES: Mapping[str, Callable[[ApprovedCache, Example], CacheDecision]] = {
    "after another question": ApprovedCache.asked,
    "without a calibration that fits": ApprovedCache.without_calibration,
    "of another tenant": ApprovedCache.of_another_tenant,
    "after a shadow check disagreed": ApprovedCache.disagreed,
    "after a person said `wrong`": ApprovedCache.said_wrong,
    "offered until a second ago": ApprovedCache.out_of_date,
    "with a damaged cache.sqlite": ApprovedCache.damaged,
}
"""What a row may say behind its question → how that is brought about."""


def main() -> None:
    with tempfile.TemporaryDirectory() as home:
        approved = ApprovedCache(Path(home))
        for row in examples():
            found, mark = approved.decide(row), " *" if row.certified else ""
            cells = f"`{found.reason}`{mark}", f"{row.asked} ({row.intent})", found.outcome, found.detail
            sys.stdout.write(f"| {' | '.join(cells)} |\n")


if __name__ == "__main__":
    main()
