"""Compliance wording: verbatim, versioned, by jurisdiction; never paraphrased, cached or interrupted.

Texts are data (`data/compliance`). A text is chosen by flow type or id, jurisdiction (a state falls back to
its country) and day; parameters are checked and formatted by type; where a required one is missing, the
text's own fallback wording is spoken instead of a sentence with a hole in it.
"""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from enum import StrEnum
from pathlib import Path
from types import MappingProxyType
from typing import Any

from serving.errors import InvalidInputError, MissingError
from serving.tools.money import annual_rate_of, cents, decimal_of, months_of

MAX_TEXT_PARAMETER = 80
"""Characters of a free-text parameter, such as a bank's name."""
_FIELD = re.compile(r"\{([a-z_]+)\}")


class FlowType(StrEnum):
    """Occasions on which a wording is required."""

    KYC = "KYC"
    RECORDING_OPT_OUT = "RECORDING_OPT_OUT"
    LEGAL_NOTICE = "LEGAL_NOTICE"


class ParameterType(StrEnum):
    """How a parameter is checked and written."""

    MONEY = "money"
    RATE = "rate"
    MONTHS = "months"
    INTEGER = "integer"
    TEXT = "text"


@dataclass(frozen=True, slots=True)
class Parameter:
    """A hole in a text; `default` fills it when nothing is given."""

    type: ParameterType
    required: bool
    default: str | None = None


@dataclass(frozen=True, slots=True)
class ComplianceText:
    """One approved wording.

    Attributes:
        default: whether it stands for its flow type when no id is named.
        jurisdiction: `US`, or a state such as `US-CA`.
        effective_from: first day on which this version is used.
    """

    id: str
    flow_type: FlowType
    default: bool
    jurisdiction: str
    version: int
    effective_from: date
    text: str
    params: Mapping[str, Parameter]
    fallback: str
    interruptible: bool


@dataclass(frozen=True, slots=True)
class Notice:
    """A wording ready to be spoken.

    Attributes:
        reference: `id@version`, for the record.
        text: exactly what is said.
        sha256: of `text`, to prove later what was said.
        used_fallback: a required parameter was missing.
    """

    reference: str
    flow_type: FlowType
    jurisdiction: str
    text: str
    sha256: str
    used_fallback: bool
    interruptible: bool


@dataclass(frozen=True, slots=True)
class ComplianceLibrary:
    """All approved wordings, and the hash of the files they came from."""

    texts: tuple[ComplianceText, ...]
    sha256: str

    def notice(
        self,
        flow_type: FlowType | str,
        params: Mapping[str, object],
        *,
        jurisdiction: str,
        on: date,
        text_id: str = "",
        house: Mapping[str, object] = MappingProxyType({}),
    ) -> Notice:
        """Choose and fill a wording.

        Args:
            flow_type: the occasion.
            params: values of the text's parameters; a name the text does not have is an error.
            jurisdiction: where the caller is; a state without a text of its own uses its country's.
            on: day of the call; the newest version in force is used.
            text_id: a text other than the flow type's default.
            house: values that the bank knows itself, such as its name; used where a text asks for them.

        Raises:
            InvalidInputError: unknown flow type or parameter, or a value of the wrong type.
            MissingError: no text for this occasion, jurisdiction and day.
        """
        flow = _flow_type(flow_type)
        chosen = self._choose(flow, text_id, jurisdiction, on)
        unknown = sorted(params.keys() - chosen.params.keys())
        if unknown:
            raise InvalidInputError(
                f"{chosen.id} has no parameter {', '.join(unknown)}; "
                f"it has: {', '.join(sorted(chosen.params)) or 'none'}."
            )
        given = {**house, **params}
        values = {
            name: _written(name, parameter.type, given.get(name, parameter.default))
            for name, parameter in chosen.params.items()
            if given.get(name, parameter.default) is not None
        }
        missing = any(parameter.required and name not in values for name, parameter in chosen.params.items())
        text = chosen.fallback if missing else _FIELD.sub(lambda match: values.get(match[1], ""), chosen.text)
        return Notice(
            reference=f"{chosen.id}@{chosen.jurisdiction}/{chosen.version}",
            flow_type=flow,
            jurisdiction=chosen.jurisdiction,
            text=text,
            sha256=hashlib.sha256(text.encode()).hexdigest(),
            used_fallback=missing,
            interruptible=chosen.interruptible,
        )

    def flow_type(self, text_id: str) -> FlowType:
        """The occasion that a text belongs to.

        Raises:
            MissingError: no text has this id.
        """
        for text in self.texts:
            if text.id == text_id:
                return text.flow_type
        raise MissingError(
            f"There is no compliance text {text_id!r}.", advice="List them: compliance-test --list"
        )

    def _choose(self, flow: FlowType, text_id: str, jurisdiction: str, on: date) -> ComplianceText:
        candidates = [
            text
            for text in self.texts
            if text.flow_type is flow
            and (text.id == text_id if text_id else text.default)
            and text.effective_from <= on
        ]
        for place in (jurisdiction, jurisdiction.partition("-")[0]):
            here = [text for text in candidates if text.jurisdiction == place]
            if here:
                return max(here, key=lambda text: text.version)
        raise MissingError(
            f"No approved wording of {flow}{f' ({text_id})' if text_id else ''} for {jurisdiction} on {on}.",
            advice="Add it to data/compliance, or see compliance-test --list for what there is.",
        )


def load_compliance(folder: Path) -> ComplianceLibrary:
    """Read and check all texts of a folder.

    Raises:
        InvalidInputError: no texts, a wrong shape, a hole without a parameter, or a text defined twice.
    """
    import yaml

    texts: list[ComplianceText] = []
    digest = hashlib.sha256()
    for path in sorted(folder.glob("*.yaml")):
        try:
            raw = path.read_bytes()
            texts.extend(_text(item) for item in yaml.safe_load(raw)["texts"])
        except (OSError, yaml.YAMLError, KeyError, TypeError, ValueError) as error:
            raise InvalidInputError(f"Compliance texts {path} cannot be read: {error!r}.") from error
        digest.update(raw)
    keys = [(text.id, text.jurisdiction, text.version) for text in texts]
    twice = sorted({key for key in keys if keys.count(key) > 1})
    if not texts or twice:
        problem = f"{twice[0]} is defined twice" if twice else "there are none"
        raise InvalidInputError(f"Compliance texts in {folder}: {problem}.")
    return ComplianceLibrary(tuple(texts), digest.hexdigest())


def _text(item: dict[str, Any]) -> ComplianceText:
    params = {
        name: Parameter(ParameterType(spec["type"]), bool(spec["required"]), spec.get("default"))
        for name, spec in item["params"].items()
    }
    holes = set(_FIELD.findall(item["text"])) | set(_FIELD.findall(item["fallback"]))
    if holes - params.keys() or _FIELD.search(item["fallback"]):
        raise ValueError(f"{item['id']}: a hole without a parameter, or a hole in the fallback")
    fields = {**item, "flow_type": FlowType(item["flow_type"]), "params": params}
    return ComplianceText(**fields)


def _flow_type(name: FlowType | str) -> FlowType:
    try:
        return FlowType(str(name).upper())
    except ValueError:
        known = ", ".join(FlowType)
        raise InvalidInputError(f"There is no flow type {str(name)[:40]!r}; there are: {known}.") from None


def _written(name: str, kind: ParameterType, value: object) -> str:
    """A parameter as it stands in the text; a voice turns the digits into words later."""
    if kind is ParameterType.TEXT:
        text = " ".join(str(value).split())
        if not text or len(text) > MAX_TEXT_PARAMETER or not text.isprintable() or "{" in text:
            raise InvalidInputError(f"{name} must be plain text of 1 to {MAX_TEXT_PARAMETER} characters.")
        return text
    if kind is ParameterType.RATE:
        return f"{_plain(annual_rate_of(value, name) * 100)}%"
    if kind is ParameterType.MONTHS:
        months = months_of(value, name)
        return f"{months} month{'' if months == 1 else 's'}"
    number = decimal_of(value, name)
    if kind is ParameterType.MONEY:
        if number < 0:
            raise InvalidInputError(f"{name} must not be negative.")
        amount = cents(number)
        return f"${amount:,.0f}" if amount == amount.to_integral_value() else f"${amount:,.2f}"
    if number != number.to_integral_value():
        raise InvalidInputError(f"{name} must be a whole number.")
    return str(int(number))


def _plain(number: Decimal) -> str:
    return format(number.normalize(), "f")
