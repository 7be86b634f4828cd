"""What can go wrong with a call, sorted by what helps: time, an operator, or nothing."""

import email.utils
import json
import re
import socket
import ssl
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, ClassVar

import httpx

LONGEST_RETRY_AFTER_SECONDS = 3600.0

_TIME_HELPS = frozenset({408, 425, 429})
_OPERATOR_HELPS = frozenset({401, 403, 404, 405})
# Legal in JSON, but no database keeps the first and no encoding writes the others.
_UNWRITABLE = re.compile(r"[\x00\ud800-\udfff]")


class CallFailed(Exception):
    """A call that did not bring what it should have."""

    error_class: ClassVar[str]

    def __init__(
        self,
        error: str,
        *,
        status: int | None = None,
        retry_after: float = 0.0,
        problem: dict[str, Any] | None = None,
    ) -> None:
        self.error = _writable(error)
        super().__init__(self.error)
        self.status = status
        self.retry_after = retry_after
        self.problem = problem and json.loads(_writable(json.dumps(problem, ensure_ascii=False)))


class Transient(CallFailed):
    """Later it may succeed."""

    error_class = "transient"


class Timeout(Transient):
    """No answer in time; whether the call had its effect is unknown."""


class Misconfigured(CallFailed):
    """It fails until someone changes an address or a token."""

    error_class = "configuration"


class Refused(CallFailed):
    """The far side has understood it, and will never accept it."""

    error_class = "refused"


class TooLarge(CallFailed):
    """The answer is larger than we read; a smaller question may have a smaller one."""

    error_class = "transient"


def of_status(status: int, headers: httpx.Headers, problem: dict[str, Any] | None) -> CallFailed:
    """Say what a status that is no success means."""
    title = (problem or {}).get("detail") or (problem or {}).get("title") or "no details"
    error = f"it answered {status}: {str(title)[:500]}"
    if status in _OPERATOR_HELPS or 300 <= status < 400:  # noqa: PLR2004
        return Misconfigured(error, status=status, problem=problem)
    if status in _TIME_HELPS or status >= 500:  # noqa: PLR2004
        wait = seconds_of(headers.get("retry-after"), datetime.now(UTC))
        return Transient(error, status=status, retry_after=wait, problem=problem)
    return Refused(error, status=status, problem=problem)


def of_exception(error: httpx.HTTPError) -> CallFailed:
    """Say what a failed exchange means."""
    said = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    for cause in _causes(error):
        if isinstance(cause, ssl.SSLError):
            return Misconfigured(f"TLS failed: {cause}")
        if isinstance(cause, socket.gaierror):
            return Misconfigured(f"its name has no address: {cause}")
    if isinstance(error, httpx.UnsupportedProtocol):
        return Misconfigured(said)
    return Timeout(said) if isinstance(error, httpx.TimeoutException) else Transient(said)


def seconds_of(retry_after: str | None, now: datetime) -> float:
    """Read a Retry-After of RFC 9110, seconds or a date; 0 where there is none that can be read."""
    if not retry_after:
        return 0.0
    if retry_after.isascii() and retry_after.isdecimal():
        # Cut first: a number of any length is legal.
        return min(float(retry_after[:9]), LONGEST_RETRY_AFTER_SECONDS)
    try:
        seconds = (email.utils.parsedate_to_datetime(retry_after) - now).total_seconds()
    except (ValueError, TypeError):
        return 0.0
    return min(max(seconds, 0.0), LONGEST_RETRY_AFTER_SECONDS)


def _writable(text: str) -> str:
    return _UNWRITABLE.sub("\ufffd", text)


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Walk down to what began it. A chain may be a circle: `raise a from b` where a caused b."""
    seen: set[int] = set()
    cause: BaseException | None = error
    while cause is not None and id(cause) not in seen:
        yield cause
        seen.add(id(cause))
        cause = cause.__cause__ or cause.__context__
