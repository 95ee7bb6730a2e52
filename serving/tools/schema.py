"""Argument schemas generated from a function's types, the same for Mistral, the CLI and training data.

A parameter's description comes from its `Annotated[..., Field(description=…)]`; a Decimal is a JSON number,
because language models write numbers, and is read back through its decimal digits.
"""

import inspect
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any, get_type_hints

from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema

from serving.errors import InvalidInputError
from serving.language.protocols import ToolSchema
from serving.tools.protocols import ToolContext

MAX_PROBLEMS = 5
"""Mistakes that one refusal names; an engine may invent hundreds."""
PERSONAL = "x-personal"
"""Key in a parameter's schema: it wants personal data, so `<card>` and the like are resolved for it."""
Personal = Field(json_schema_extra={PERSONAL: True})
"""For annotations: `account: Annotated[str, Personal]`. No other parameter ever gets a caller's data."""
MAX_NAME = 40
"""Characters of an argument's name that a refusal repeats."""


class _NumbersForDecimals(GenerateJsonSchema):
    def decimal_schema(self, schema: core_schema.DecimalSchema) -> JsonSchemaValue:
        limits = {"ge": "minimum", "gt": "exclusiveMinimum", "le": "maximum", "lt": "exclusiveMaximum"}
        bounds = {name: _json_number(Decimal(schema[key])) for key, name in limits.items() if key in schema}  # type: ignore[literal-required]
        return {"type": "number", **bounds}

    def encode_default(self, dft: Any) -> Any:
        """A Decimal default as the number that it is; pydantic would write text."""
        return _json_number(dft) if isinstance(dft, Decimal) else super().encode_default(dft)


def arguments_model(function: Callable[..., Any]) -> type[BaseModel]:
    """A model of a function's keyword arguments that refuses unknown names; the context is none of them."""
    hints = get_type_hints(function, include_extras=True)
    fields: dict[str, Any] = {}
    for name, parameter in inspect.signature(function).parameters.items():
        if hints[name] is ToolContext:
            continue
        default = ... if parameter.default is inspect.Parameter.empty else parameter.default
        fields[name] = (hints[name], default)
    return create_model(function.__name__, __config__=ConfigDict(extra="forbid"), **fields)


def context_parameter(function: Callable[..., Any]) -> str:
    """Name of the parameter that takes the `ToolContext`; empty where a function wants none."""
    hints = get_type_hints(function)
    return next((name for name in inspect.signature(function).parameters if hints[name] is ToolContext), "")


def tool_schema(function: Callable[..., Any]) -> ToolSchema:
    """Name, purpose (first paragraph of the docstring) and JSON schema of the arguments."""
    schema = arguments_model(function).model_json_schema(schema_generator=_NumbersForDecimals)
    description = " ".join((inspect.getdoc(function) or "").split("\n\n", 1)[0].split())
    return ToolSchema(function.__name__, description, _without_titles(schema))


def validated(model: type[BaseModel], arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments as the function's Python types.

    Raises:
        InvalidInputError: naming each argument that is missing, unknown or of a wrong kind. Values are
            not repeated: one of them could be personal.
    """
    try:
        parsed = model.model_validate(dict(arguments))
    except ValidationError as error:
        found = error.errors(include_input=False, include_url=False, include_context=False)
        problems = [
            f"{'.'.join(str(part)[:MAX_NAME] for part in item['loc'])}: {item['msg']}"
            for item in found[:MAX_PROBLEMS]
        ]
        raise InvalidInputError(f"Arguments do not fit {model.__name__}: {'; '.join(problems)}.") from error
    return {name: getattr(parsed, name) for name in type(parsed).model_fields}


def _json_number(number: Decimal) -> int | float:
    return int(number) if number == number.to_integral_value() else float(number)


def _without_titles(node: Any) -> Any:
    """Titles repeat the names and cost tokens."""
    if isinstance(node, dict):
        return {
            key: _without_titles(value)
            for key, value in node.items()
            if not (key == "title" and isinstance(value, str))
        }
    return [_without_titles(item) for item in node] if isinstance(node, list) else node
