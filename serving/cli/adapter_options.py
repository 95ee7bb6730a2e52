"""What the commands of `adapter-control` share: their options, and the installation that they act on."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from serving.plain import printable

if TYPE_CHECKING:
    from serving.adapters.registry import AdapterRegistry
    from serving.settings import Settings

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
By = Annotated[
    str | None, typer.Option(help="Who acts, for the audit; default: setting `operator` or login.")
]
Reason = Annotated[str, typer.Option(help="Why, for the audit.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Check everything and say it; change nothing.")]
Name = Annotated[str | None, typer.Argument(help="Registered model; default: all.")]
Which = Annotated[str, typer.Argument(metavar="NAME[@ALIAS|VERSION]", help="Such as banking-lora@2.")]


def open_settings() -> "Settings":
    """The settings of this installation."""
    from serving.settings import Settings

    return Settings.load()


def open_registry(settings: "Settings | None" = None) -> "AdapterRegistry":
    """The registry of this installation."""
    from serving.adapters.registry import AdapterRegistry

    return AdapterRegistry.from_settings(settings or open_settings())


def adapter_store(settings: "Settings") -> Path:
    """The home's folder of copies and pin."""
    return settings.home / "adapters"


def acting(settings: "Settings", by: str | None) -> str:
    """Who acts: what the command was told, else the setting, else the login."""
    from serving.adapters.audit import operator_name

    return operator_name(by or settings.operator)


def warn(text: str) -> None:
    """Tell something on stderr that is no reason to stop."""
    typer.echo(printable(f"warning: {text}"), err=True)
