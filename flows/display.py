"""A live display of a flow's work: finished steps stay as lines, the present one has a bar.

Where the output is no terminal, finished steps are printed as plain lines and no bar is drawn.
"""

from types import TracebackType
from typing import TYPE_CHECKING, Self

from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

if TYPE_CHECKING:
    from rich.console import Console


class ProgressDisplay:
    """A `flows.progress.Reporter` on a console; use it as a context manager.

    Args:
        console: where to draw.
    """

    def __init__(self, console: "Console") -> None:
        self.console = console
        self._progress = Progress(
            TextColumn("    {task.description:<22}"),
            BarColumn(bar_width=28),
            TextColumn("{task.completed:.0f}/{task.total:.0f}"),
            TimeElapsedColumn(),
            TextColumn("[dim]{task.fields[note]}"),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._bars: dict[str, TaskID] = {}

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def step(self, name: str, done: int, total: int, note: str = "") -> None:
        """Move the bar of a step; a finished step becomes a line."""
        if done >= total:
            bar = self._bars.pop(name, None)
            if bar is not None:
                self._progress.remove_task(bar)
            if note or total > 1:
                count = f"{done}/{total}" if total > 1 else "done"
                self.console.print(
                    f"    {name:<22} {count}  {note}".rstrip(), style="dim", markup=False, highlight=False
                )
            return
        if name not in self._bars:
            self._bars[name] = self._progress.add_task(name, total=total, note=note)
        self._progress.update(self._bars[name], completed=done, total=total, note=note)
