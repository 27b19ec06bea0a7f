"""What collection from the web is allowed to do, and the one way in which a page fails."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime

from llmkit import __version__
from llmkit.errors import UsageError

USER_AGENT = f"llmkit/{__version__}"
PRODUCT = "llmkit"
"""The product token by which robots.txt may address us (RFC 9309, section 2.2.1)."""


@dataclass(frozen=True)
class FetchOptions:
    """How pages are fetched.

    Attributes:
        rate: requests per second to one host, at most; a longer `Crawl-delay` of the host is obeyed.
        max_pages: pages fetched in one run; what is left is counted.
        max_bytes: of one response, after decompression.
        timeout: seconds to wait for a connection, and for each next byte.
        longest: seconds that one response may take as a whole.
        retries: further attempts after a timeout, a broken connection, or an answer that says "later" (429, 5xx).
        longest_pause: seconds; a host that asks for a longer wait between requests is left alone.
        max_age: seconds during which a kept page is used without asking whether it changed.
        offline: use what is kept, ask nobody.
    """

    rate: float = 1.0
    max_pages: int = 1000
    max_bytes: int = 100 << 20
    timeout: float = 20.0
    longest: float = 120.0
    retries: int = 2
    longest_pause: float = 60.0
    max_age: float = 0.0
    offline: bool = False

    def __post_init__(self) -> None:
        if not self.rate > 0:
            raise UsageError(
                f"{self.rate:g} requests per second fetch nothing", mend="name a rate above 0, such as 0.1"
            )


@dataclass(frozen=True)
class Clock:
    """Time, as something a test can put another in place of."""

    now: Callable[[], float] = field(default=time.monotonic)
    sleep: Callable[[float], None] = field(default=time.sleep)
    date: Callable[[], datetime] = field(default=lambda: datetime.now(UTC))


class FetchError(Exception):
    """Why one address could not be fetched; `collect_web` makes a `Drop` of it.

    `temporary` says that the page may well be there: it is asked for again, and a copy from an earlier run still
    stands for it. `pause` is the wait, in seconds, that the host asks for.
    """

    def __init__(self, reason: str, detail: str, *, temporary: bool = False, pause: float | None = None) -> None:
        super().__init__(reason, detail)
        self.reason = reason
        self.detail = detail
        self.temporary = temporary
        self.pause = pause
