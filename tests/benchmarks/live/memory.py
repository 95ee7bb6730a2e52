"""How much memory this process holds, and whether it grows."""

import os
import statistics
from collections.abc import Sequence
from pathlib import Path

_PAGE = os.sysconf("SC_PAGE_SIZE")


def resident_mb() -> float:
    """Resident memory of this process, MB."""
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * _PAGE / 1e6


def growth(samples: Sequence[float], warm_up: float = 0.3) -> float:
    """How much more is held at the end than after the warm-up, as a share.

    Args:
        samples: at even distances of time.
        warm_up: share of them that counts for nothing.

    Returns:
        The last fifth's median over the first fifth's after the warm-up, minus one.
    """
    warm = list(samples[int(len(samples) * warm_up) :])
    fifth = max(1, len(warm) // 5)
    return statistics.median(warm[-fifth:]) / statistics.median(warm[:fifth]) - 1.0
