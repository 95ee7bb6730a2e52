"""What callers of two arms are compared by: one value per caller between fixed bounds, in words and numbers.

The definitions are those of the KPIs (`kpi_rates`, `kpi_contacts`), for one call.
"""

from dataclasses import dataclass

from serving.arms.split import PrimaryMetric
from serving.errors import InvalidInputError

LONGEST_CALL_S = 600.0
"""A longer call counts as this long; the nearer a bound to most values, the shorter their mean's interval."""
LONGEST_WAIT_S = 5.0
"""A longer wait for the reply counts as this long."""


@dataclass(frozen=True, slots=True)
class Metric:
    """What callers of two arms are compared by.

    Attributes:
        unit: `share`, `s` or `points`.
        more_is_better: direction.
        bounds: least and largest value, fixed; larger ones are cut.
        meaning: of one caller's value, in words.
    """

    key: str
    title: str
    unit: str
    more_is_better: bool
    bounds: tuple[float, float]
    meaning: str


def _share(key: str, title: str, meaning: str, *, more_is_better: bool = True) -> Metric:
    return Metric(key, title, "share", more_is_better, (0.0, 1.0), meaning)


METRICS = (
    _share(
        PrimaryMetric.RESOLVED_CONTAINMENT,
        "Resolved containment",
        "1 where the call was not transferred, the caller confirmed that the matter is settled, and did not "
        "call again about it within the days of maturity; 0 for any other call that is that old",
    ),
    _share(
        PrimaryMetric.FIRST_CONTACT_RESOLUTION,
        "First contact resolution",
        "of callers whose call settled a matter raised for the first time: 1 where none came back with it",
    ),
    _share(PrimaryMetric.CSAT, "CSAT", "of callers who answered the survey: 1 where the answer is 4 or 5"),
    Metric(
        PrimaryMetric.SURVEY, "Survey answer", "points", True, (1.0, 5.0), "of callers who answered: 1 to 5"
    ),
    _share(PrimaryMetric.TRANSFER, "Transfers", "1 where the call went to a person", more_is_better=False),
    _share(
        PrimaryMetric.FAILED_TURNS,
        "Failed turns",
        "share of the call's turns in which something failed, or that were asked again",
        more_is_better=False,
    ),
    Metric(
        PrimaryMetric.HANDLE_TIME,
        "Handle time",
        "s",
        False,
        (0.0, LONGEST_CALL_S),
        f"seconds on the line of a spoken call, cut at {LONGEST_CALL_S:.0f}",
    ),
    Metric(
        PrimaryMetric.VOICE_TO_VOICE,
        "Voice-to-voice",
        "s",
        False,
        (0.0, LONGEST_WAIT_S),
        f"mean wait of the call's spoken turns in seconds, each cut at {LONGEST_WAIT_S:.0f}",
    ),
)


def metric_of(key: str) -> Metric:
    """The metric of a key.

    Raises:
        InvalidInputError: there is none.
    """
    found = {metric.key: metric for metric in METRICS}
    if key not in found:
        raise InvalidInputError(f"There is no metric {key[:40]!r}.", advice=f"Choose of {', '.join(found)}.")
    return found[key]
