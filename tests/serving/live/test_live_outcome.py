"""What a live call leaves of itself as a whole: the caller's own judgement, and what a person must know."""

from serving.call.caller import Feedback
from serving.call.dialogue import DialogueState, PendingTask, Step
from serving.call.machine import Ending, Next
from tests.serving.live.telephone import Replies, Telephone


def turn(phone: Telephone) -> None:
    phone.wait_for("listening")
    phone.talk(1.0)
    phone.wait_for("speaking")


def test_the_answers_to_the_survey_are_on_record_and_the_latest_counts() -> None:
    replies = Replies(
        {
            "yes": {"answer": "And from one to five?", "feedback": Feedback(confirmed=True)},
            "five": {"answer": "Goodbye.", "feedback": Feedback(confirmed=True, survey=5), "next": Next.END},
        }
    )
    phone = Telephone(["yes", "five"], replies)
    turn(phone)
    turn(phone)
    phone.wait_for("ended", 60)
    (record,) = phone.records.ended
    assert (record.confirmed, record.survey, record.ending) == (True, 5, Ending.COMPLETED)


def asked_for_a_rating() -> Telephone:
    asked = DialogueState(pending=PendingTask("goodbye", "From one to five?", step=Step.RATING))
    rated = {"answer": "Goodbye.", "feedback": Feedback(confirmed=True, survey=4), "next": Next.END}
    replies = Replies({"yes": {"answer": "From one to five?", "state": asked}, "4#": rated})
    phone = Telephone(["yes"], replies)
    turn(phone)
    return phone


def test_who_keys_a_rating_and_hangs_up_at_once_has_given_it() -> None:
    phone = asked_for_a_rating()
    phone.call.digit("4")
    phone.wait(0.3)
    assert [record.text for record in phone.hang_up()] == ["yes", "4#"]
    assert [(call.survey, call.ending) for call in phone.records.ended] == [(4, Ending.CALLER_LEFT)]


def test_a_rating_that_was_keyed_is_taken_once() -> None:
    phone = asked_for_a_rating()
    phone.call.digit("4")
    phone.wait(3.0)
    phone.hang_up()
    assert [asked.text for asked in phone.replies.asked] == ["yes", "4#"]


def test_keys_that_nobody_asked_for_are_forgotten_when_the_caller_hangs_up() -> None:
    phone = Telephone()
    phone.wait_for("listening")
    phone.call.digit("4")
    assert phone.hang_up() == ()


def test_a_caller_who_leaves_before_the_survey_has_judged_nothing() -> None:
    phone = Telephone(["hello"])
    turn(phone)
    phone.hang_up()
    (record,) = phone.records.ended
    assert (record.confirmed, record.survey, record.transfer_summary) == (None, None, "")


def test_the_summary_of_the_reply_that_put_the_caller_through_is_on_record() -> None:
    summary = "Wanted: account balance. Done: nothing. Verified: no."
    reply = {"answer": "One moment.", "summary": summary, "next": Next.TRANSFER}
    phone = Telephone(["a person please"], Replies({"a person please": reply}))
    turn(phone)
    phone.wait_for("ended", 60)
    (record,) = phone.records.ended
    assert (record.transfer_summary, record.ending) == (summary, Ending.TRANSFERRED)


def test_a_transfer_that_no_reply_brought_about_is_summed_up_too() -> None:
    phone = Telephone(["hello"])
    turn(phone)
    phone.wait_for("listening")
    phone.call._deaf("vad: broken")
    phone.wait_for("ended", 60)
    (record,) = phone.records.ended
    assert record.ending is Ending.TRANSFERRED
    assert record.transfer_summary.startswith("Wanted:")
