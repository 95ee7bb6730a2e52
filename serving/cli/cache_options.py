"""What the commands of `cache-manager` share: their options, and the cache that they act on."""

from typing import TYPE_CHECKING, Annotated

import typer

from serving.plain import printable

if TYPE_CHECKING:
    from pathlib import Path

    from serving.cache.store import CacheStore
    from serving.cache.store_rows import StoredEntry
    from serving.cache.types import CacheScope
    from serving.settings import Settings

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
By = Annotated[
    str | None, typer.Option(help="Who acts, for the audit; default: setting `operator` or login.")
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Check everything and say it; change nothing.")]
Which = Annotated[str, typer.Argument(metavar="ID", help="An entry's id, or the beginning of it.")]
Intent = Annotated[
    str,
    typer.Option(
        help="The question's intent: the cache alone is asked, and no adapter is needed.", metavar="NAME"
    ),
]
ScopeBegin = Annotated[str, typer.Option(help="The scope that begins so; needed where there are several.")]
Threshold = Annotated[float, typer.Option(help="Least accuracy that stays, 0 to 1.")]
MaxEntries = Annotated[int | None, typer.Option(help="Most entries that stay; the least used go.")]
MaxFraction = Annotated[
    float, typer.Option(help="Share of what callers are answered from that may go, 0 to 1.")
]
SHORT_ID = 12
"""Characters of an id that tables show."""


def open_settings(*, looking: bool = False) -> "Settings":
    """The settings of this installation, with its logs set up.

    Args:
        looking: the command leaves the home as it is, so its warnings only go to the terminal.
    """
    from serving.settings import Settings
    from serving.telemetry.logs import configure_logs

    settings = Settings.load()
    configure_logs(settings, file=not looking)
    return settings


def open_store(settings: "Settings | None" = None, *, write: bool = False) -> "CacheStore":
    """The cache of this home; a command that only looks makes none and changes none.

    Raises:
        MissingError: there is none.
        UnavailableError: it cannot be read.
    """
    from serving.cache.store import CacheStore
    from serving.settings import Settings

    return CacheStore(cache_file(settings or Settings.load()), read_only=not write)


def cache_file(settings: "Settings") -> "Path":
    """The file of the cache of this home.

    Raises:
        MissingError: there is none.
        UnavailableError: its folder cannot be read.
    """
    from serving.cache.store import FILE
    from serving.errors import MissingError, UnavailableError

    path = settings.home / "cache" / FILE
    try:
        path.stat()
    except FileNotFoundError as error:
        raise MissingError(
            f"There is no cache at {path}.",
            advice="Build it with `cache-manager build`, or `voicebot build-cache`.",
        ) from error
    except OSError as error:
        raise UnavailableError(
            f"The cache {path} cannot be read: {error.strerror}.",
            advice="Give this user the right to read that folder.",
        ) from error
    return path


def entry_named(store: "CacheStore", which: str) -> "StoredEntry":
    """The one entry whose id begins so.

    Raises:
        InvalidInputError: several do, or it can be no id.
        MissingError: none does.
    """
    from serving.errors import InvalidInputError, MissingError

    wanted = which.strip().lower()
    if len(wanted) < 4 or not all(character in "0123456789abcdef" for character in wanted):
        raise InvalidInputError(
            f"{which[:40]!r} is no entry's id: 4 hexadecimal digits or more.",
            advice="`cache-manager list` shows them.",
        )
    found = [item for item in store.stored() if item.entry.id.startswith(wanted)]
    if not found:
        raise MissingError(
            f"The cache holds no entry {which[:40]}.", advice="`cache-manager list` shows them."
        )
    if len(found) > 1:
        ids = ", ".join(item.entry.id[:16] for item in found[:5])
        raise InvalidInputError(
            f"{len(found)} entries begin with {wanted}: {ids}{' …' if len(found) > 5 else ''}.",
            advice="Give more of the id.",
        )
    return found[0]


def scope_named(store: "CacheStore", begins: str) -> "CacheScope":
    """The one scope with entries whose key begins so.

    Raises:
        InvalidInputError: there are several.
        MissingError: there is none.
    """
    from serving.errors import InvalidInputError, MissingError

    filled = store.counts()
    found = {key: it for key, it in store.scopes().items() if key.startswith(begins) and key in filled}
    if not found:
        raise MissingError(f"The cache holds no scope {begins[:64] or 'with entries'}.")
    if len(found) > 1:
        keys = ", ".join(key[:16] for key in found)
        raise InvalidInputError(f"There are {len(found)} scopes: {keys}.", advice="Name one with --scope.")
    return next(iter(found.values()))


def acting(settings: "Settings", by: str | None) -> str:
    """Who acts: what the command was told, else the setting, else the login.

    Raises:
        InvalidInputError: a name that is no line of text.
    """
    from serving.adapters.audit import operator_name
    from serving.errors import InvalidInputError

    name = operator_name(by or settings.operator)
    if not name.strip() or len(name) > 200 or not name.isprintable():
        raise InvalidInputError("The audit needs a name of one line: --by.")
    return name


def facets(pairs: "tuple[tuple[str, str], ...]") -> str:
    """A signature in a cell."""
    return " ".join(f"{name}={value}" for name, value in pairs) or "-"


def state_of(item: "StoredEntry") -> str:
    """Whether an entry is served, in a word or two."""
    from datetime import UTC, datetime

    from serving.cache.nearby import ACCURACY_FLOOR

    if item.quarantined_at is not None:
        return "quarantined"
    end = item.entry.expires_at
    if end is not None and end <= datetime.now(UTC):
        return "expired"
    return "served" if item.entry.accuracy >= ACCURACY_FLOOR else "doubted"


def warn(text: str) -> None:
    """Tell something on stderr that is no reason to stop."""
    typer.echo(printable(f"warning: {text}"), err=True)
