"""Lets pages of other origins call a service."""

from http import HTTPStatus

from starlette.datastructures import Headers
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from service_kit.web.problem_responses import answer
from service_kit.web.problems import BadRequest


class Cors(CORSMiddleware):
    """Starlette's, with its refusals in the shape of all errors."""

    def preflight_response(self, request_headers: Headers) -> Response:
        response = super().preflight_response(request_headers)
        return response if response.status_code == HTTPStatus.OK else _PreflightRefused(response)


class _PreflightRefused(Response):
    def __init__(self, plain: Response) -> None:
        super().__init__()
        self._plain = plain

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        names = {"vary"} | {name for name in self._plain.headers if name.startswith("access-")}
        headers = {name: self._plain.headers[name] for name in names if name in self._plain.headers}
        problem = BadRequest(
            f"{bytes(self._plain.body).decode()}: this service does not answer to that page.",
            headers=headers,
        )
        await answer(Request(scope), problem)(scope, receive, send)
