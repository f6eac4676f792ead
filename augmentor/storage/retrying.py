"""The retry policy of requests to object stores.

Errors are recognised by HTTP status and class name: every store has its own library, and none is imported here.
"""

from __future__ import annotations

import errno
import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeVar

T = TypeVar("T")

_LASTING = (FileNotFoundError, PermissionError, FileExistsError, IsADirectoryError, NotADirectoryError)
_PASSING_STATUS = frozenset({408, 425, 429})
_PASSING_NUMBERS = frozenset(
    getattr(errno, name)
    for name in (
        *("EIO", "EREMOTEIO", "EBUSY", "EAGAIN", "EPIPE", "ETIMEDOUT", "ECONNABORTED", "ECONNREFUSED"),
        *("ECONNRESET", "ENETDOWN", "ENETRESET", "ENETUNREACH", "EHOSTDOWN", "EHOSTUNREACH"),
    )
    if hasattr(errno, name)
)
_PASSING_NAMES = frozenset(
    {
        *("HTTPClientError", "IncompleteRead", "IncompleteReadError", "ResponseParserError"),  # botocore, http
        *("ClientConnectionError", "ClientPayloadError", "ServerDisconnectedError"),  # aiohttp
        *("ServiceRequestError", "ServiceResponseError", "TransportError"),  # Azure, Google
    }
)
_CREDENTIALS_NAMES = frozenset(
    {
        *("NoCredentialsError", "PartialCredentialsError", "CredentialRetrievalError", "ProfileNotFound"),
        *("DefaultCredentialsError", "RefreshError", "ClientAuthenticationError"),
    }
)


@dataclass(frozen=True, kw_only=True)
class RetryPolicy:
    """The number of tries of a request and the pauses between them.

    Pauses have at most `first` seconds, doubled each time up to `longest`. They are drawn between half of that and
    all of it, so that clients do not retry in step.
    """

    tries: int = 6
    first: float = 0.5
    longest: float = 20.0
    sleep: Callable[[float], None] = time.sleep
    draw: Callable[[float, float], float] = random.SystemRandom().uniform

    def call(self, request: Callable[[], T]) -> T:
        """Return the result of a request, repeated while its errors are transient; raises the last one."""
        pause = self.first
        for _ in range(self.tries - 1):
            try:
                return request()
            except Exception as error:
                if not may_pass(error):
                    raise
            self.sleep(self.draw(pause / 2, pause))
            pause = min(2 * pause, self.longest)
        return request()


def may_pass(error: BaseException) -> bool:
    """Return whether an error may be transient: 5xx, throttling, timeouts, broken connections."""
    if isinstance(error, TimeoutError | ConnectionError):
        return True
    if isinstance(error, _LASTING):
        return False
    status = http_status(error)
    if status is not None:
        return status in _PASSING_STATUS or 500 <= status < 600
    if _names(error) & _PASSING_NAMES:
        return True
    return isinstance(error, OSError) and error.errno in _PASSING_NUMBERS


def lacks_credentials(error: BaseException) -> bool:
    """Return whether an error means that credentials are missing or unusable."""
    return bool(_names(error) & _CREDENTIALS_NAMES)


def http_status(error: BaseException) -> int | None:
    """Return the HTTP status of an error or of its causes, if any."""
    for each in _causes(error):
        response = getattr(each, "response", None)
        told = response.get("ResponseMetadata", {}).get("HTTPStatusCode") if isinstance(response, dict) else None
        for status in (told, *(getattr(each, name, None) for name in ("status", "status_code", "code"))):
            if isinstance(status, int) or (isinstance(status, str) and status.isdecimal()):
                return int(status)
    return None


def _causes(error: BaseException) -> Iterator[BaseException]:
    seen: BaseException | None = error
    while seen is not None:
        yield seen
        seen = seen.__cause__


def _names(error: BaseException) -> set[str]:
    return {kind.__name__ for each in _causes(error) for kind in type(each).__mro__}
