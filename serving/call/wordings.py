"""The legal wordings that a call opens with, and a look at start whether any that calls need is missing."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date

from serving.language.knowledge import Knowledge
from serving.settings import Settings
from serving.tools.compliance import ComplianceLibrary


@dataclass(frozen=True, slots=True)
class Wordings:
    """Wordings of one installation.

    Attributes:
        texts: all approved ones.
        settings: where the bank is, and what it is called.
        today: the bank's day; a wording holds from one day to another.
    """

    texts: ComplianceLibrary
    settings: Settings
    today: Callable[[], date]

    def opening(self, *, voice: bool, recorded: bool) -> str:
        """What the law wants said before anything else (data/compliance/README.md)."""
        notices = [("LEGAL_NOTICE", "ai_voice_disclosure")] if voice else []
        notices += [("RECORDING_OPT_OUT", "recording_notice")] if recorded else []
        return " ".join(self._text(flow_type, text_id) for flow_type, text_id in notices)

    def check(self, knowledge: Knowledge, *, voice: bool) -> None:
        """Make sure, before the first call, that no wording is missing in the middle of one.

        Raises:
            VoicebotError: one is.
        """
        self.opening(voice=voice, recorded=voice and self.settings.keep_recordings)
        self._text("RECORDING_OPT_OUT")
        for text_id in sorted({name for answer in knowledge.answers for name in answer.disclosures}):
            self._text(self.texts.flow_type(text_id), text_id)

    def _text(self, flow_type: str, text_id: str = "") -> str:
        return self.texts.notice(
            flow_type,
            {},
            jurisdiction=self.settings.jurisdiction,
            on=self.today(),
            text_id=text_id,
            house={"bank_name": self.settings.bank_name},
        ).text
