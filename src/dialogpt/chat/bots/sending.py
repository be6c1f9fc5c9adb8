"""Sending a message again while the platform cannot be reached."""

import asyncio
import logging
from collections.abc import Awaitable, Callable

log = logging.getLogger(__name__)

WAITS_S = (1.0, 2.0, 4.0, 8.0)  # between attempts


async def sent(
    send: Callable[[], Awaitable[object]], chat: str, errors: tuple[type[Exception], ...],
    passes: Callable[[Exception], bool],
) -> bool:  # fmt: skip
    """Whether it was sent: tried again while an error `passes`; any other of `errors`, and the last one, is logged."""
    for wait in (*WAITS_S, None):
        try:
            await send()
        except errors as error:
            if wait is None or not passes(error):
                log.warning("a message could not be sent to %s: %s", chat, error or type(error).__name__)
                return False
            await asyncio.sleep(wait)
        else:
            return True
    raise AssertionError("the last attempt returns")
