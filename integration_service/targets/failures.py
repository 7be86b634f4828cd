"""What an answer means: the one table of statuses, for a whole call and for one item of a batch.

| answer                                                           | class         |
|------------------------------------------------------------------|---------------|
| 408, 425, 429, 5xx; no connection; time-out; JSON that is cut    | Transient     |
| our problem document about the request as a whole: `OF_REQUESTS` | Unfit         |
| our problem document about one item, named in it: `OF_ITEMS`     | Refused       |
| 409 for the whole request, whoever answers it                    | Misconfigured |
| anything else: a proxy's pages, another service, TLS, no address | Misconfigured |

A refusal is final, so it is believed only of our own service's word about that very item. What each
class leads to is in `deliveries/retry_policy.py`.

A webhook's receiver is a stranger, so none of its answers is final:

| answer                                                           | class         |
|------------------------------------------------------------------|---------------|
| 408, 425, 429, 5xx; no connection; time-out                      | Transient     |
| 410                                                              | Gone          |
| any other 4xx                                                    | NotAccepted   |
| a redirect; TLS, no address, an address where none may go        | Misconfigured |
"""

import email.utils
import json
import re
import socket
import ssl
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, ClassVar

import httpx

LONGEST_RETRY_AFTER_SECONDS = 3600.0
# Legal in JSON, but no database keeps the first and no encoding writes the others.
_UNWRITABLE = re.compile(r"[\x00\ud800-\udfff]")
_PROBLEM = "application/problem+json"
_URN = "urn:problem:"


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
    """It fails until someone changes an address, a token, or what stands in between."""

    error_class = "configuration"


class Untrusted(Misconfigured):
    """Nobody whom we trust vouches for its certificate, or it is another name's."""


class Gone(Misconfigured):
    """A webhook's receiver wants no more events."""

    error_class = "gone"


class NotAccepted(CallFailed):
    """A webhook's receiver does not accept this event. It may accept others, or this one later."""

    error_class = "refused"


class Unfit(CallFailed):
    """Our service refuses the request as it is; a smaller one, or another, may be taken."""

    error_class = "refused"


class Refused(CallFailed):
    """Our service has understood this one item, and will never accept it."""

    error_class = "refused"


class RefusedAsErased(Refused):
    """Inventory was asked to erase this customer: no package is made, or stays."""


class TooLarge(CallFailed):
    """The answer is larger than we read; a smaller question may have a smaller one."""

    error_class = "transient"


BAD_REQUEST = 400
GONE = 410
INTERNAL_ERROR = 500
_TIME_HELPS = frozenset({408, 425, 429})
# No connection, or a proxy whose service is just restarting.
_BLIPS = frozenset({None, 502, 503, 504})
# What our own problem documents mean, by slug; each with its one status.
OF_REQUESTS = {
    "bad-request": (400, Unfit),
    "cursor-malformed": (400, Unfit),
    "body-too-large": (413, Unfit),
    "invalid-request": (422, Unfit),
}
OF_ITEMS: dict[str, tuple[int, type[Refused]]] = {
    "package-request-conflict": (409, Refused),
    "customer-erased": (410, RefusedAsErased),
    "invalid-request": (422, Refused),
}


def classify_answer(status: int, headers: httpx.Headers, document: Any) -> CallFailed:
    """Classify an answer that is no success; `document` is its JSON, where it has any."""
    problem = _our_problem(document, status) if _media_type(headers) == _PROBLEM else None
    expected, kind = OF_REQUESTS.get(slug_of(problem), (None, Unfit))
    if expected == status:
        return kind(_words(status, document), status=status, problem=problem)
    wait = seconds_of(headers.get("retry-after"), _sent_at(headers))
    return _classify_status(status, document, problem, wait)


def classify_item(status: int, document: Any, customer_uid: str) -> CallFailed:
    """Classify one item's result that is no success; only its own refusal is believed."""
    problem = _our_problem(document, status)
    expected, kind = OF_ITEMS.get(slug_of(problem), (None, Refused))
    if problem is None or expected != status:
        return _classify_status(status, document, problem)
    if problem.get("customer_id") != customer_uid:
        return Misconfigured("the result does not name its customer", status=status)
    return kind(_words(status, document), status=status, problem=problem)


def classify_receiver(status: int, headers: Mapping[str, str], excerpt: str) -> CallFailed:
    """Classify what a webhook's receiver answered instead of 2xx.

    `excerpt` is for whoever looks at the delivery. It is in no log line, so not in the error.
    """
    problem = excerpt and {
        "type": "about:blank",
        "title": "What the receiver answered",
        "status": status,
        "detail": excerpt,
    }
    kept: dict[str, Any] = {
        "status": status,
        "retry_after": seconds_of(headers.get("retry-after"), _sent_at(headers)),
        "problem": problem or None,
    }
    if status < BAD_REQUEST:
        return Misconfigured(f"it answered {status}; redirects are not followed", **kept)
    if status == GONE:
        return Gone("it answered 410: it wants no more events", **kept)
    if status in _TIME_HELPS or status >= INTERNAL_ERROR:
        return Transient(f"it answered {status}", **kept)
    return NotAccepted(f"it answered {status}", **kept)


def classify_unreadable(status: int, headers: httpx.Headers) -> CallFailed:
    """Classify a success that is not JSON: it was cut on its way, or is somebody else's."""
    kind = _media_type(headers)
    if kind == "application/json":
        return Transient("its answer is not JSON", status=status)
    return Misconfigured(f"its answer is {kind[:100] or 'of no type'}, not JSON", status=status)


def classify_exception(error: httpx.HTTPError) -> CallFailed:
    """Classify a failed exchange."""
    if (known := classify_cause(error)) is not None:
        return known
    message = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    if isinstance(error, httpx.UnsupportedProtocol):
        return Misconfigured(message)
    return Timeout(message) if isinstance(error, httpx.TimeoutException) else Transient(message)


def classify_cause(error: BaseException | None) -> CallFailed | None:
    """Classify a failure to connect by what is beneath it, whatever library reports it."""
    for cause in _causes(error):
        if isinstance(cause, ssl.SSLCertVerificationError):
            return Untrusted(f"its certificate is not trusted: {cause.verify_message}")
        if isinstance(cause, ssl.SSLError):
            return Misconfigured(f"TLS failed: {cause}")
        if isinstance(cause, socket.gaierror):
            return Misconfigured(f"its name has no address: {cause}")
    return None


def is_blip(error: BaseException) -> bool:
    """Whether it is likely gone in a moment, so that the call is repeated at once.

    Our services send a Retry-After with each 503, so this is a proxy's bare 502 to 504 or no
    connection at all; not a time-out, which has taken its time already.
    """
    return (
        isinstance(error, Transient)
        and not isinstance(error, Timeout)
        and error.status in _BLIPS
        and not error.retry_after
    )


def slug_of(problem: dict[str, Any] | None) -> str:
    """Return what our services call this problem; nothing for a document that is none of theirs."""
    return str(problem["type"]).removeprefix(_URN) if problem else ""


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


def _classify_status(
    status: int, document: Any, problem: dict[str, Any] | None, retry_after: float = 0.0
) -> CallFailed:
    error = _words(status, document)
    if status in _TIME_HELPS or status >= INTERNAL_ERROR:
        return Transient(error, status=status, retry_after=retry_after, problem=problem)
    return Misconfigured(error, status=status, problem=problem)


def _our_problem(document: Any, status: int) -> dict[str, Any] | None:
    """Return a problem document of one of our services, and nothing else."""
    if not isinstance(document, dict) or document.get("status") != status:
        return None
    return document if str(document.get("type")).startswith(_URN) else None


def _media_type(headers: httpx.Headers) -> str:
    kind: str = headers.get("content-type", "")
    return kind.partition(";")[0].strip().lower()


def _words(status: int, document: Any) -> str:
    given = document if isinstance(document, dict) else {}
    words = given.get("detail") or given.get("title") or "no details"
    return f"it answered {status}: {str(words)[:500]}"


def _sent_at(headers: Mapping[str, str]) -> datetime:
    """Read the sender's clock, which a Retry-After date is by; else take our own."""
    try:
        sent_at = email.utils.parsedate_to_datetime(headers.get("date", ""))
    except (ValueError, TypeError):
        return datetime.now(UTC)
    return sent_at if sent_at.tzinfo else datetime.now(UTC)


def _writable(text: str) -> str:
    return _UNWRITABLE.sub("\ufffd", text)


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """Walk down to the first cause. A chain may be a circle: `raise a from b` where a caused b."""
    seen: set[int] = set()
    cause = error
    while cause is not None and id(cause) not in seen:
        yield cause
        seen.add(id(cause))
        cause = cause.__cause__ or cause.__context__
