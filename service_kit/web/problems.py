"""How a problem leaves a service: the responses, the handlers that make them, and the log."""

import logging
import time
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.routing import Match

from service_kit.database.errors import origin, reason
from service_kit.problems import (
    MEDIA_TYPE,
    Problem,
    ServiceUnavailable,
    document,
    invalid,
    phrase,
    write,
)
from service_kit.process.logs import current_request_id

# An outage fails every request, so each kind of cause is logged at most this often.
QUIET_SECONDS = 10.0
_logged_at: dict[str, float] = {}

logger = logging.getLogger(__name__)


def install_problem_handlers(app: FastAPI) -> None:
    """Make every error that a handler or the router raises leave the app in the one shape."""

    @app.exception_handler(Problem)
    async def on_problem(request: Request, problem: Problem) -> Response:
        if refused := refusal(request):
            return refused
        if isinstance(problem, ServiceUnavailable):
            log_unavailable(problem)
        return answer(request, problem)

    @app.exception_handler(RequestValidationError)
    async def on_invalid(request: Request, error: RequestValidationError) -> Response:
        return answer(request, invalid(error.errors()))

    @app.exception_handler(HTTPException)
    async def on_http_exception(request: Request, error: HTTPException) -> Response:
        if refused := refusal(request):
            return refused
        status = HTTPStatus(error.status_code)
        headers = dict(error.headers or {})
        detail = error.detail
        if status is HTTPStatus.METHOD_NOT_ALLOWED:
            headers["Allow"] = ", ".join(_allowed_methods(request))
            if request.method == "OPTIONS":
                return Response(status_code=HTTPStatus.NO_CONTENT, headers=headers)
            detail = f"This resource answers {headers['Allow']}."
        elif status is HTTPStatus.NOT_FOUND:
            detail = "There is nothing at this address."
        slug = phrase(status).lower().replace(" ", "-")
        return render(request, document(status, slug, detail), headers)


def refusal(request: Request) -> Response | None:
    """Count a request that ends before its token is verified, and refuse it if it is one too many.

    One that is counted already passes.
    """
    try:
        request.app.state.limits.count_by_address(request.scope)
    except Problem as problem:
        return answer(request, problem)
    return None


def answer(request: Request, problem: Problem) -> Response:
    return render(request, problem.document(), problem.headers)


def render(
    request: Request, document: dict[str, Any], headers: Mapping[str, str] | None = None
) -> Response:
    path = request.scope.get("raw_path") or request.url.path.encode()
    body = write(document, path.decode("ascii", "replace"), current_request_id())
    return Response(body, document["status"], headers, media_type=MEDIA_TYPE)


def log_unavailable(problem: ServiceUnavailable) -> None:
    """Log why callers get a 503, in the driver's words; SQLAlchemy's would quote the values."""
    cause = origin(problem)
    kind = type(cause).__name__
    now = time.monotonic()
    if now - _logged_at.get(kind, -QUIET_SECONDS) < QUIET_SECONDS:
        return
    _logged_at[kind] = now
    words = "" if cause is problem else f" {kind}: {reason(problem)}"
    logger.warning("Requests are answered 503: %s%s", problem.detail, words)


def _allowed_methods(request: Request) -> list[str]:
    allowed: set[str] = set()
    for route in request.app.routes:
        match, _ = route.matches(request.scope)
        if match is not Match.NONE:
            allowed |= route.methods or set()
    return sorted(allowed | {"OPTIONS"} | ({"HEAD"} if "GET" in allowed else set()))
