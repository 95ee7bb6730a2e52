"""The end of a call: whether the matter is settled, and one to five for the call itself.

Whoever answers something else, or nothing, is let go politely; what was said until then is kept.
"""

import re
from dataclasses import replace

from serving.call import policy
from serving.call.caller import Feedback
from serving.call.desk import Move
from serving.call.dialogue import DialogueState, PendingTask, Step
from serving.call.machine import Next
from serving.call.record import Decision
from serving.call.toolbox import Toolbox
from serving.call.understanding import Understood
from serving.language.protocols import UserTurn
from serving.spoken.values import Kind

_SOUNDS = {"won": 1, "to": 2, "too": 2, "tree": 3, "for": 4, "fore": 4}
"""What a recogniser may write for a number that was said alone."""
_LEFT_OUT = re.compile(r"\bout of (?:5|five)\b", re.IGNORECASE)
_WORDS = re.compile(r"[a-z]+")


def survey_begun(box: Toolbox, turn: Understood) -> Move:
    """Ask the first question instead of saying goodbye."""
    return _asked(box, replace(turn.state, feedback=Feedback()), Step.SETTLED)


def survey_move(box: Toolbox, turn: Understood) -> Move | None:
    """The reply to a turn that answers a question of the survey; None for any other turn.

    A caller who wants a person now, or to hear the question again, gets that.
    """
    pending = turn.state.pending
    feedback = turn.state.feedback
    if pending is None or feedback is None or pending.step not in {Step.SETTLED, Step.RATING}:
        return None
    if policy.says(turn.tag, policy.TRANSFER, policy.REPEAT) and not turn.user.values:
        return None
    if pending.step is Step.RATING:
        feedback = replace(feedback, survey=rating_of(turn.user))
        return _ended(box, replace(turn.state, feedback=feedback))
    yes = policy.agrees(turn.user)
    if not yes and not policy.declines(turn.user):
        return _ended(box, turn.state)
    return _asked(box, replace(turn.state, feedback=replace(feedback, confirmed=yes)), Step.RATING)


def rating_of(user: UserTurn) -> int | None:
    """The number from one to five that a turn says; None where it says none, or several."""
    span = _LEFT_OUT.search(user.text)
    numbers = {
        value.value
        for value in user.values
        if value.kind is Kind.COUNT and not (span and span.start() <= value.start < span.end())
    }
    words = _WORDS.findall(user.text.lower())
    if not user.values and len(words) == 1 and words[0] in _SOUNDS:
        return _SOUNDS[words[0]]
    rating = numbers.pop() if len(numbers) == 1 else None
    return rating if isinstance(rating, int) and 1 <= rating <= 5 else None


def _asked(box: Toolbox, state: DialogueState, step: Step) -> Move:
    question = box.phrase(f"survey_{step}")
    pending = PendingTask(policy.GOODBYE, question, step=step)
    return Move(question, Decision.CONTROL, state, pending)


def _ended(box: Toolbox, state: DialogueState) -> Move:
    return Move(box.phrase("goodbye"), Decision.CONTROL, state, next=Next.END)
