"""What `voicebot fetch-models` shows before, during and after a download."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from serving.cli.console import print_table
from serving.errors import InvalidInputError
from serving.fetch import fetch, outstanding
from serving.settings import Settings
from serving.weights import DEFAULT_VOICE, DEFAULT_WHISPER, FAMILIES, Download, plan, settings_for

if TYPE_CHECKING:
    from rich.console import Console

_MB = 1_000_000


def fetch_models(
    settings: Settings,
    families: Sequence[str],
    *,
    dry_run: bool,
    console: "Console",
    whisper: str = DEFAULT_WHISPER,
    voice: str = DEFAULT_VOICE,
    mirror: str | None = None,
) -> None:
    """Show what would be fetched and how much it is; fetch it unless that was all that was asked for.

    Args:
        settings: weights go below `home/models`.
        families: `whisper`, `kokoro`, `encoder`; empty only lists them.
        dry_run: show, and download nothing.
        console: where to show.
        whisper: name of the Whisper checkpoint.
        voice: name of the Kokoro voice.
        mirror: address of a server that holds the same files.

    Raises:
        InvalidInputError: an unknown family or model.
        UnavailableError, MissingError, IntegrityError: see `serving.fetch.fetch`.
    """
    unknown = sorted(set(families) - set(FAMILIES))
    if unknown:
        raise InvalidInputError(f"There is no family {unknown[0]!r}; there are {', '.join(FAMILIES)}.")
    downloads = plan(settings, families=families or FAMILIES, whisper=whisper, voice=voice, mirror=mirror)
    wanted = outstanding(downloads)
    _show(downloads, wanted)
    total = sum(download.size for download in wanted)
    if not families or dry_run or not wanted:
        console.print(
            f"{total / _MB:,.0f} MB to download." if wanted else "Everything is here.", highlight=False
        )
        if not families:
            console.print("Name what to fetch: voicebot fetch-models whisper kokoro", highlight=False)
            return
        if dry_run:
            return
    else:
        console.print(f"Downloading {total / _MB:,.0f} MB.", highlight=False)
        _fetch(wanted, console)
    console.print("Put these lines into voicebot.toml:", highlight=False)
    for name, path in settings_for(downloads).items():
        console.print(f'{name} = "{path}"', markup=False, highlight=False, soft_wrap=True)


def _show(downloads: Sequence[Download], wanted: Sequence[Download]) -> None:
    rows = [
        (d.what, f"{d.size / _MB:,.1f}", d.licence, "to fetch" if d in wanted else "here", d.target)
        for d in downloads
    ]
    print_table("Weights", ["What", "MB", "Licence", "State", "File"], rows, right=["MB"])


def _fetch(wanted: Sequence[Download], console: "Console") -> None:
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, console=console) as bars:
        tasks = {download.url: bars.add_task(download.what, total=download.size) for download in wanted}
        fetch(wanted, progress=lambda download, done: bars.update(tasks[download.url], completed=done))
