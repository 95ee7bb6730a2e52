"""Compliance wording: verbatim, versioned, by jurisdiction; never paraphrased, cached or interrupted.

Texts are data (`data/compliance`). A text is chosen by flow type or id, jurisdiction (a state falls back to
its country) and day; parameters are checked and formatted by type; where a required one is missing, the
text's own fallback wording is spoken instead of a sentence with a hole in it.
"""

import hashlib
import itertools
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
from serving.tools.money import annual_rate_of, decimal_of, dollars, money_of, months_of, percent

MAX_TEXT_PARAMETER = 80
"""Characters of a free-text parameter, such as a bank's name."""
MAX_MONEY = Decimal(1_000_000_000_000)
MAX_INTEGER = 1_000_000_000
_FIELD = re.compile(r"\{([a-z_]+)\}")
_ID = re.compile(r"[a-z0-9_]{1,60}")
_JURISDICTION = re.compile(r"[A-Z]{2}(-[A-Z0-9]{1,3})?")
"""A country, or a part of it, as in ISO 3166: US, US-CA."""
_MARKUP = frozenset("{}<>")
"""Never part of a value: `<name>` is a placeholder that nothing replaced, `{name}` a hole."""


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
            InvalidInputError: unknown flow type or parameter, a jurisdiction that is no place's code, or a
                value of the wrong type.
            MissingError: no text for this occasion, jurisdiction and day.
        """
        flow = _flow_type(flow_type)
        chosen = self._choose(flow, text_id, jurisdiction_of(jurisdiction), on)
        unknown = sorted(params.keys() - chosen.params.keys())
        if unknown:
            raise InvalidInputError(
                f"{chosen.id} has no parameter {unknown[0][:40]!r}; "
                f"it has: {', '.join(sorted(chosen.params)) or 'none'}."
            )
        given = {**house, **params}
        values = {
            name: _written(name, parameter.type, given.get(name, parameter.default))
            for name, parameter in chosen.params.items()
            if given.get(name, parameter.default) is not None
        }
        missing = any(parameter.required and name not in values for name, parameter in chosen.params.items())
        text = chosen.fallback if missing else _FIELD.sub(lambda match: values[match[1]], chosen.text)
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
            f"There is no compliance text {text_id[:60]!r}.", advice="List them: compliance-test --list"
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
        what = f"{flow} ({text_id[:60]!r})" if text_id else flow
        raise MissingError(
            f"No approved wording of {what} for {jurisdiction} on {on}.",
            advice="Add it to data/compliance, or see compliance-test --list for what there is.",
        )


def jurisdiction_of(text: str) -> str:
    """A place's code in capitals.

    Raises:
        InvalidInputError: it is no such code. Then the wording of the country would be spoken where the
            state may have its own, so it is not taken for an unknown state.
    """
    code = text.strip().upper()
    if not _JURISDICTION.fullmatch(code):
        raise InvalidInputError(f"A jurisdiction is a country, or a state as in US-CA; got {text[:40]!r}.")
    return code


def load_compliance(folder: Path) -> ComplianceLibrary:
    """Read and check all texts of a folder.

    Raises:
        InvalidInputError: no texts, a wrong shape, a hole without a parameter, a text defined twice, or
            texts of which it is not clear which one to speak.
    """
    import yaml

    texts: list[ComplianceText] = []
    digest = hashlib.sha256()
    for path in sorted(folder.glob("*.yaml")):
        try:
            raw = path.read_bytes()
            texts.extend(_text(item) for item in yaml.safe_load(raw)["texts"])
        except InvalidInputError as error:
            raise InvalidInputError(f"Compliance texts {path}: {error.message}") from error
        except (OSError, yaml.YAMLError, AttributeError, KeyError, TypeError, ValueError) as error:
            raise InvalidInputError(f"Compliance texts {path} cannot be read: {error!r}.") from error
        digest.update(raw)
    problem = _ambiguity(texts) if texts else "there are none"
    if problem:
        raise InvalidInputError(f"Compliance texts in {folder}: {problem}.")
    return ComplianceLibrary(tuple(texts), digest.hexdigest())


def _text(item: dict[str, Any]) -> ComplianceText:
    params = {name: _parameter(name, spec) for name, spec in item["params"].items()}
    fields = {**item, "flow_type": FlowType(item["flow_type"]), "params": params}
    text = ComplianceText(**fields)
    shapes = {
        "id": _ID.fullmatch(text.id),
        "default": isinstance(text.default, bool),
        "interruptible": isinstance(text.interruptible, bool),
        "jurisdiction": _JURISDICTION.fullmatch(text.jurisdiction),
        "version": type(text.version) is int and text.version > 0,
        "effective_from": type(text.effective_from) is date,
        "text": _is_line(_FIELD.sub("", text.text)),
        "fallback": _is_line(text.fallback),
    }
    wrong = [name for name, right in shapes.items() if not right]
    if wrong:
        raise ValueError(f"{item['id']}: impossible value of {', '.join(wrong)}")
    undeclared = set(_FIELD.findall(text.text)) - params.keys()
    if undeclared:
        raise ValueError(f"{text.id}: {', '.join(sorted(undeclared))} has a hole, but is no parameter")
    return text


def _parameter(name: str, spec: Mapping[str, Any]) -> Parameter:
    parameter = Parameter(ParameterType(spec["type"]), spec["required"], spec.get("default"))
    if not isinstance(parameter.required, bool):
        raise ValueError(f"{name}: required must be true or false")
    if parameter.default is not None:
        _written(name, parameter.type, parameter.default)
    elif not parameter.required:
        raise ValueError(f"{name}: a parameter that is not required needs a default, or it leaves a gap")
    return parameter


def _is_line(text: str) -> bool:
    """Words on one line, without a brace that could be a hole."""
    return bool(text.strip()) and text.isprintable() and not _MARKUP & set(text)


def _ambiguity(texts: list[ComplianceText]) -> str:
    """Why it is not clear which text to speak; empty when it is."""
    days: dict[tuple[str, str], dict[int, date]] = {}
    kinds: dict[str, tuple[FlowType, bool]] = {}
    defaults: dict[FlowType, str] = {}
    for text in texts:
        versions = days.setdefault((text.id, text.jurisdiction), {})
        if text.version in versions:
            return f"version {text.version} of {text.id} for {text.jurisdiction} is defined twice"
        versions[text.version] = text.effective_from
        if kinds.setdefault(text.id, (text.flow_type, text.default)) != (text.flow_type, text.default):
            return f"{text.id} differs in flow_type or default from one place or version to another"
        if text.default and defaults.setdefault(text.flow_type, text.id) != text.id:
            return f"{defaults[text.flow_type]} and {text.id} are both the default of {text.flow_type}"
    for (text_id, place), versions in days.items():
        in_order = [versions[version] for version in sorted(versions)]
        if any(later <= earlier for earlier, later in itertools.pairwise(in_order)):
            return f"a later version of {text_id} for {place} begins before an earlier one"
    return ""


def _flow_type(name: FlowType | str) -> FlowType:
    try:
        return FlowType(str(name).upper())
    except ValueError:
        known = ", ".join(FlowType)
        raise InvalidInputError(f"There is no flow type {str(name)[:40]!r}; there are: {known}.") from None


def _written(name: str, kind: ParameterType, value: object) -> str:
    """A parameter as it stands in the text; a voice turns the digits into words later."""
    if kind is ParameterType.TEXT:
        text = " ".join(value.split()) if isinstance(value, str) else ""
        if not text or len(text) > MAX_TEXT_PARAMETER or not text.isprintable() or _MARKUP & set(text):
            raise InvalidInputError(
                f"{name} must be plain text of 1 to {MAX_TEXT_PARAMETER} characters, without brackets."
            )
        return text
    if kind is ParameterType.RATE:
        return f"{percent(annual_rate_of(value, name))}%"
    if kind is ParameterType.MONTHS:
        months = months_of(value, name)
        return f"{months} month{'' if months == 1 else 's'}"
    if kind is ParameterType.MONEY:
        return dollars(money_of(value, name, MAX_MONEY))
    number = decimal_of(value, name)
    if number != number.to_integral_value() or not 0 <= number <= MAX_INTEGER:
        raise InvalidInputError(f"{name} must be a whole number from 0 to {MAX_INTEGER}.")
    return str(int(number))
