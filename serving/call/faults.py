"""How a failure inside a call is named in records and logs: without the words of its message.

A message may quote the caller ("invalid literal for int(): '4111…'"), its type and place never do.
"""

import traceback
from pathlib import Path

from serving.errors import VoicebotError


def fault(stage: str, error: BaseException) -> str:
    """Stage and type, such as `stt: EngineError`; for a bug also where: `answer: KeyError in slots line 42`.

    The place is words, because a file's name with its ending reads as a web address, and redaction of the
    logs would take it away.
    """
    name = f"{stage}: {type(error).__name__}"
    frames = traceback.extract_tb(error.__traceback__)
    if isinstance(error, VoicebotError) or not frames:
        return name
    return f"{name} in {Path(frames[-1].filename).stem} line {frames[-1].lineno}"
