"""Tells the log why callers get a 503: once in a while, since an outage fails every request."""

import logging
import time

from starlette.requests import Request
from starlette.responses import Response

from service_kit.database.errors import origin, reason
from service_kit.web.problem_responses import answer
from service_kit.web.problems import ServiceUnavailable

QUIET_SECONDS = 10.0
_told_at: dict[str, float] = {}

logger = logging.getLogger(__name__)


async def answer_unavailable(request: Request, problem: Exception) -> Response:
    """Answer a 503 that a handler raised."""
    assert isinstance(problem, ServiceUnavailable)
    tell(problem)
    return answer(request, problem)


def tell(problem: ServiceUnavailable) -> None:
    """Log the reason in the driver's own words; SQLAlchemy's would hold a statement's values."""
    cause = origin(problem)
    kind = type(cause).__name__
    now = time.monotonic()
    if now - _told_at.get(kind, -QUIET_SECONDS) < QUIET_SECONDS:
        return
    _told_at[kind] = now
    words = "" if cause is problem else f" {kind}: {reason(problem)}"
    logger.warning("Requests are answered 503: %s%s", problem.detail, words)
