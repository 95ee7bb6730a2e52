"""What each KPI means, in the words printed beside it; the one home of these words.

Nothing is computed here. The keys are those of `KpiReport.rates`, `KpiReport.means` and, for waiting
times, of `evaluation.kpi_latency`.
"""

from dataclasses import dataclass

from evaluation.kpi_figures import FEW, FEW_BEYOND

GROUPS = ("Outcome", "Time", "Understanding", "Reliability", "Cache", "Caller feedback")


@dataclass(frozen=True, slots=True)
class Definition:
    """A figure's name and meaning.

    Attributes:
        group: one of `GROUPS`.
        unit: what is counted in numerator and denominator; `s` for times.
        meaning: formula in words.
        asked: what its response rate is a share of; empty where it rests on no answers.
        answer: what such a response is called.
    """

    key: str
    group: str
    title: str
    unit: str
    meaning: str
    asked: str = ""
    answer: str = "answered"


def definitions(maturity_days: float = 7) -> tuple[Definition, ...]:
    """All figures in the order of the report.

    Args:
        maturity_days: time in which a caller may come back, days.
    """
    days = f"{maturity_days:g} days"
    return (*_outcome(days), *_time(), *_understanding(), *_reliability(), *_cache(), *_feedback())


def general(maturity_days: float = 7) -> tuple[tuple[str, str], ...]:
    """Rules that hold for all figures: name and text."""
    return (
        (
            "Engaged call",
            "An ended call in which the caller said or typed something. N is the number of these; a line "
            "on which nobody spoke is in no figure.",
        ),
        (
            "Interval",
            "Two-sided 95 % interval: Wilson's score interval for shares, Clopper and Pearson's exact one "
            "for the false-hit rate, Student's t for means. Calls and turns are taken as independent, so "
            "shares of turns are a little less certain than printed.",
        ),
        (
            "Few",
            f"Marked where a share or a mean rests on fewer than {FEW} units, or where fewer than "
            f"{FEW_BEYOND} values are expected beyond a percentile (p95 needs 100 values, p99 500).",
        ),
        (
            "Percentile",
            "Computed from the raw times of single turns with linear interpolation; never averaged.",
        ),
        (
            "Not mature",
            f"The call is younger than {maturity_days:g} days, so the caller may still come back. It "
            "counts neither as resolved nor as unresolved.",
        ),
        (
            "Not traceable",
            "The call carries no keyed hash of the caller's id, so nobody can be seen coming back.",
        ),
        (
            "Re-contact",
            "A later engaged call of the same caller hash with the same in-scope intent. Intents that only "
            "steer a call (greeting, yes, no, an agent please) are no matter to come back about.",
        ),
    )


def _outcome(days: str) -> tuple[Definition, ...]:
    group = "Outcome"
    return (
        Definition(
            "resolved_containment",
            group,
            "Resolved containment",
            "calls",
            f"Calls that were not transferred, whose outcome the caller confirmed, and about whose matters "
            f"the caller did not call again within {days}; of engaged calls with a caller hash that are at "
            f"least {days} old.",
            "mature calls without a transfer",
        ),
        Definition(
            "raw_containment",
            group,
            "Raw containment",
            "calls",
            "Engaged calls without a transfer to a person, of all engaged calls. It includes callers who "
            "gave up; read it beside abandonment.",
        ),
        Definition(
            "first_contact_resolution",
            group,
            "First contact resolution",
            "contacts",
            "1 − repeats / resolved first contacts. A contact is a call and one matter of it; it is a first "
            f"one if the caller raised the matter in no call of the {days} before, resolved if confirmed "
            f"and not transferred, repeated if the caller raised it again within {days} after.",
        ),
        Definition(
            "abandonment",
            group,
            "Abandonment",
            "calls",
            "Engaged calls in which the caller left, without a transfer and without having confirmed that "
            "the matter is settled.",
        ),
        Definition(
            "confirmation",
            group,
            "Outcome confirmed",
            "answers",
            "Callers who said that the matter is settled, of those who said whether it is.",
            "engaged calls without a transfer",
        ),
    )


def _time() -> tuple[Definition, ...]:
    group = "Time"
    return (
        Definition(
            "handle_time",
            group,
            "Average handle time",
            "s",
            "(talk + hold + wrap-up) / N on the bot's leg of spoken calls. The bot neither holds nor wraps "
            "up: both are 0, and talk is the time on the line. An agent's leg after a transfer is not known "
            "here.",
        ),
        Definition(
            "speech_time",
            group,
            "Speech in a call",
            "s",
            "Seconds in which caller or bot were speaking, per spoken call; the rest of the handle time is "
            "pauses and waiting.",
        ),
        Definition(
            "typed_handle_time",
            group,
            "Handle time, typed",
            "s",
            "Time from beginning to end of calls in which every turn was typed, per call.",
        ),
        Definition(
            "voice_to_voice",
            group,
            "Voice-to-voice",
            "s",
            "From the end of the caller's speech to the first sound played of the reply, for spoken turns.",
        ),
        Definition(
            "response_time",
            group,
            "Response, typed",
            "s",
            "From the arrival of a typed turn to its answer.",
        ),
    )


def _understanding() -> tuple[Definition, ...]:
    group = "Understanding"
    return (
        Definition(
            "reprompt_rate",
            group,
            "Re-prompts",
            "turns",
            "Turns in which the caller was asked to say it again, of all turns.",
        ),
        Definition(
            "out_of_scope_rate",
            group,
            "Out of scope",
            "turns",
            "Turns that no intent of the bank fits, of all turns.",
        ),
        Definition("tool_rate", group, "Tool use", "turns", "Turns in which a tool ran, of all turns."),
    )


def _reliability() -> tuple[Definition, ...]:
    group = "Reliability"
    return (
        Definition(
            "apology_rate",
            group,
            "Apologies",
            "turns",
            "Turns in which something failed and the caller was told so, of all turns.",
        ),
        Definition(
            "error_rate",
            group,
            "Turns with an error",
            "turns",
            "Turns whose record names a failure, whether or not the caller noticed, of all turns.",
        ),
        Definition(
            "no_end",
            group,
            "No end recorded",
            "calls",
            "Engaged calls without a recorded end: still going on, or lost by a crash. They are in no other "
            "figure.",
        ),
    )


def _cache() -> tuple[Definition, ...]:
    group = "Cache"
    return (
        Definition(
            "hit_rate",
            group,
            "Hit rate",
            "lookups",
            "Hits, of eligible lookups (hits and misses). A bypassed turn must not be answered from a cache "
            "and is not eligible.",
        ),
        Definition("coverage", group, "Coverage", "turns", "Turns answered from the cache, of all turns."),
        Definition(
            "false_hit_rate",
            group,
            "False hits",
            "audited hits",
            "Hits that an audit found wrong, of audited hits; exact interval. Without audits it is not "
            "measured, which is not zero.",
            "hits",
            "audited",
        ),
    )


def _feedback() -> tuple[Definition, ...]:
    group = "Caller feedback"
    return (
        Definition(
            "csat",
            group,
            "Satisfied callers (CSAT)",
            "answers",
            "Answers of 4 or 5 to the survey at the end (1 to 5), of all answers.",
            "engaged calls",
        ),
        Definition(
            "nps",
            group,
            "Net promoter score",
            "answers",
            "Needs answers from 0 to 10; our survey asks 1 to 5, so it is not asked.",
        ),
    )
