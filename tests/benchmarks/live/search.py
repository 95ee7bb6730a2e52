"""The largest number of concurrent calls that still holds, found with few trials.

Pure: what a trial is, the caller says.
"""

from collections.abc import Callable

SIZES = (1, 5, 10, 20, 40, 80, 160, 320, 640, 1_280)
CLOSE = 1.1
"""The answer is within this factor of the true one."""


def largest(holds: Callable[[int], bool], sizes: tuple[int, ...] = SIZES, close: float = CLOSE) -> int:
    """The largest size that holds, to within a tenth; 0 where not even the first does.

    A size that does not hold is tried once more, because a machine has other things to do; one that does
    not hold twice is the end. Sizes beyond the last are not tried.

    Args:
        holds: one trial at a size.
        sizes: rising; tried in order until one fails, then the gap is halved.
        close: how far the next larger size may still be.
    """
    best = 0
    for size in sizes:
        if not _holds(holds, size):
            return _between(holds, best, size, close)
        best = size
    return best


def _between(holds: Callable[[int], bool], good: int, bad: int, close: float) -> int:
    while bad - good > 1 and bad > good * close:
        middle = (good + bad) // 2
        if _holds(holds, middle):
            good = middle
        else:
            bad = middle
    return good


def _holds(holds: Callable[[int], bool], size: int) -> bool:
    return holds(size) or holds(size)
