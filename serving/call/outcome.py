"""What the replies of a call say about the call as a whole.

How it went for the caller, and what a person who takes it over needs to know. One home for both loops.
"""

from dataclasses import dataclass, field
from typing import Any

from serving.call.caller import Feedback
from serving.call.dialogue import DialogueState, Reply, summary_of
from serving.call.endings import Ending


@dataclass(slots=True)
class Outcome:
    """Gathers it, reply by reply.

    Attributes:
        feedback: the caller's own words on it.
        summary: for a person, of the reply that put the caller through.
    """

    feedback: Feedback = field(default_factory=Feedback)
    summary: str = ""

    def take(self, reply: Reply) -> None:
        """A reply was found."""
        self.feedback = reply.feedback or self.feedback
        self.summary = reply.summary or self.summary

    def facts(self, ending: Ending, dialogue: DialogueState) -> dict[str, Any]:
        """Fields of the call's record.

        Args:
            ending: how the call ended; a transfer that no reply brought about is summed up all the same.
            dialogue: as it was left.
        """
        own = summary_of(dialogue) if ending is Ending.TRANSFERRED else ""
        return {
            "confirmed": self.feedback.confirmed,
            "survey": self.feedback.survey,
            "transfer_summary": self.summary or own,
            "verified": dialogue.verified,
        }
