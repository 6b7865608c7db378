"""What must be read though the interpreter exits and nobody has set up logging.

:Runs on: the main thread, from ``atexit``.
:Owns: nothing.
:Blocks: as long as the log's handlers do.
"""

from __future__ import annotations

import logging

__all__ = ["say"]


def say(logger: logging.Logger, level: int, text: str) -> None:
    """Log it; to stderr where a host has set up no logging, for it must be seen."""
    place: logging.Logger | None = logger
    heard = False
    while place is not None and not heard:
        heard = any(type(h) is not logging.NullHandler for h in place.handlers)
        place = place.parent if place.propagate else None
    logger.log(level, "%s", text)
    if not heard and logging.lastResort is not None:
        record = logger.makeRecord(logger.name, level, "", 0, text, (), None)
        logging.lastResort.handle(record)
