"""RetryPolicy: what may pass is asked again with longer and longer pauses, what will not pass is told at once."""

from __future__ import annotations

import errno

import pytest

from augmentor.storage.retrying import RetryPolicy, http_status, lacks_credentials, may_pass


class ClientError(Exception):
    """As botocore has it."""

    def __init__(self, status: int) -> None:
        super().__init__(f"An error occurred ({status})")
        self.response = {"ResponseMetadata": {"HTTPStatusCode": status}}


class HttpError(Exception):
    """As gcsfs has it."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


class HTTPClientError(Exception):
    """As botocore calls what its connections fail with."""


class ConnectTimeoutError(HTTPClientError):
    """Likewise."""


class NoCredentialsError(Exception):
    """Likewise."""


def caused_by(error: Exception, cause: Exception) -> Exception:
    error.__cause__ = cause
    return error


PASSING = [
    ClientError(503),
    ClientError(429),
    HttpError("500"),
    TimeoutError("slow"),
    ConnectionResetError(),
    ConnectTimeoutError("no answer"),
    OSError(errno.EIO, "translated"),
    caused_by(OSError(errno.EINVAL, "translated"), ClientError(500)),
    caused_by(TimeoutError("RequestTimeout"), ClientError(400)),
]
LASTING = [
    ClientError(403),
    ClientError(404),
    HttpError("412"),
    FileNotFoundError("gone"),
    caused_by(PermissionError("ExpiredToken"), ClientError(400)),
    OSError(errno.ENOSPC, "full"),
    NoCredentialsError("none"),
    ValueError("a mistake of ours"),
]


@pytest.mark.parametrize("error", PASSING, ids=repr)
def test_what_may_pass(error: Exception) -> None:
    assert may_pass(error)


@pytest.mark.parametrize("error", LASTING, ids=repr)
def test_what_will_not_pass(error: Exception) -> None:
    assert not may_pass(error)


def test_who_lacks_credentials() -> None:
    assert lacks_credentials(caused_by(OSError("translated"), NoCredentialsError("none")))
    assert not lacks_credentials(ClientError(403))
    assert http_status(ValueError("no status")) is None


class Trouble:
    """A request that fails so many times before it succeeds, and the pauses in between."""

    def __init__(self, failures: int, error: Exception) -> None:
        self.asked = 0
        self.pauses: list[float] = []
        self._failures, self._error = failures, error

    def ask(self, *, shortest: bool = False, longest: float = 20.0) -> str:
        patience = RetryPolicy(
            sleep=self.pauses.append, draw=lambda low, high: low if shortest else high, longest=longest
        )
        return patience.call(self._request)

    def _request(self) -> str:
        self.asked += 1
        if self.asked <= self._failures:
            raise self._error
        return "done"


def test_five_failures_are_survived_with_pauses_that_double() -> None:
    trouble = Trouble(5, ClientError(503))
    assert trouble.ask() == "done"
    assert trouble.asked == 6
    assert trouble.pauses == [0.5, 1.0, 2.0, 4.0, 8.0]


def test_pauses_are_drawn_and_no_longer_than_allowed() -> None:
    trouble = Trouble(5, ClientError(503))
    assert trouble.ask(shortest=True, longest=3.0) == "done"
    assert trouble.pauses == [0.25, 0.5, 1.0, 1.5, 1.5]


def test_the_sixth_failure_is_told() -> None:
    trouble = Trouble(6, ClientError(503))
    with pytest.raises(ClientError):
        trouble.ask()
    assert trouble.asked == 6


def test_what_will_not_pass_is_told_at_once() -> None:
    trouble = Trouble(1, ClientError(403))
    with pytest.raises(ClientError):
        trouble.ask()
    assert (trouble.asked, trouble.pauses) == (1, [])
