"""How a problem leaves a service: the responses, and the handlers that make them."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.routing import Match

from service_kit.process.logs import current_request_id
from service_kit.web.problems import MEDIA_TYPE, InternalError, Problem, document, invalid, write


def install_problem_handlers(app: FastAPI) -> None:
    """Make every error that a handler or the router raises leave the app in the one shape."""

    @app.exception_handler(Problem)
    async def on_problem(request: Request, problem: Problem) -> Response:
        return answer(request, problem)

    @app.exception_handler(RequestValidationError)
    async def on_invalid(request: Request, error: RequestValidationError) -> Response:
        return answer(request, invalid(error.errors()))

    @app.exception_handler(HTTPException)
    async def on_http_exception(request: Request, error: HTTPException) -> Response:
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
        slug = getattr(error, "slug", status.phrase.lower().replace(" ", "-"))
        return render(request, document(status, slug, detail), headers)


def answer(request: Request, problem: Problem) -> Response:
    return render(request, problem.document(), problem.all_headers)


def render(
    request: Request, document: dict[str, Any], headers: Mapping[str, str] | None = None
) -> Response:
    path = request.scope.get("raw_path") or request.url.path.encode()
    body = write(document, path.decode("ascii", "replace"), current_request_id())
    return Response(body, document["status"], headers, media_type=MEDIA_TYPE)


def internal_error(request: Request) -> Response:
    """Build the answer to a bug: nothing about it but the id under which the log has it."""
    return answer(
        request,
        InternalError("This is our fault. The log has the details under this request id."),
    )


def _allowed_methods(request: Request) -> list[str]:
    allowed: set[str] = set()
    for route in request.app.routes:
        match, _ = route.matches(request.scope)
        if match is not Match.NONE:
            allowed |= route.methods or set()
    return sorted(allowed | {"OPTIONS"} | ({"HEAD"} if "GET" in allowed else set()))
