"""Runs a service on AWS Lambda: takes one event at a time from the Runtime API and answers it.

    SERVICE=crm_api python -m service_kit.process.aws_lambda

Mangum turns an event into a request to the app. The app starts once, when the process does, and
stays up between the events, on the one event loop that its database's connections belong to.
"""

import asyncio
import http.client
import json
import logging
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from mangum import Mangum
from mangum.adapter import DEFAULT_TEXT_MIME_TYPES
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service_kit.process import cli
from service_kit.process.cli import Service
from service_kit.process.environment import Refused
from service_kit.web.problem_responses import answer
from service_kit.web.problems import MEDIA_TYPE, Problem

API = "/2018-06-01/runtime"
# What is left of an event's time for the answer to go out, once its handler had to be stopped.
TO_ANSWER_SECONDS = 0.5

logger = logging.getLogger(__name__)

Handler = Callable[[Any, "Event"], dict[str, Any]]


class CannotStart(RuntimeError):
    """The service refused its environment or its database; it has said why."""


class RuntimeApiFailed(RuntimeError):
    """Lambda's side of the loop answers something else than an event, or nothing."""


class OutOfTime(Problem):
    status = HTTPStatus.GATEWAY_TIMEOUT
    slug = "out-of-time"


@dataclass(frozen=True)
class Event:
    """One invocation. Mangum and its handlers take it for the context object they know."""

    aws_request_id: str
    deadline_ms: int
    body: Any

    def get_remaining_time_in_millis(self) -> int:
        return max(0, self.deadline_ms - int(time.time() * 1000))


class RuntimeApi:
    """Lambda's half of the conversation, on one connection that stays open."""

    def __init__(self, address: str) -> None:
        self._connection = http.client.HTTPConnection(address)

    def close(self) -> None:
        self._connection.close()

    def next_event(self) -> Event:
        """Wait for the next event; for hours, perhaps, during which the process is frozen."""
        status, headers, body = self._ask("GET", "/invocation/next")
        if status != HTTPStatus.OK:
            raise RuntimeApiFailed(f"no event, but {status}")
        return Event(
            aws_request_id=headers["Lambda-Runtime-Aws-Request-Id"],
            deadline_ms=int(headers["Lambda-Runtime-Deadline-Ms"]),
            body=json.loads(body),
        )

    def answer(self, event: Event, result: dict[str, Any]) -> None:
        self._ask("POST", f"/invocation/{event.aws_request_id}/response", result)

    def report(self, where: str, error: Exception) -> None:
        """Tell of an error by its kind alone: its text may hold somebody's data, the log has it."""
        kind = type(error).__name__
        what = {"errorType": kind, "errorMessage": "The log has the details.", "stackTrace": []}
        self._ask("POST", where, what, {"Lambda-Runtime-Function-Error-Type": f"Service.{kind}"})

    def _ask(
        self,
        method: str,
        path: str,
        content: dict[str, Any] | None = None,
        headers: dict[str, str] | None = None,
    ) -> tuple[int, http.client.HTTPMessage, bytes]:
        body = None if content is None else json.dumps(content).encode()
        try:
            self._connection.request(method, API + path, body, headers or {})
            response = self._connection.getresponse()
            return response.status, response.headers, response.read()
        except (OSError, http.client.HTTPException) as error:
            raise RuntimeApiFailed("it hung up") from error


class Deadline:
    """Ends a request in time to say so; Lambda would end the process, and the caller see a 502."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        begun = False

        async def watched(message: Message) -> None:
            nonlocal begun
            begun = True
            await send(message)

        left = scope["aws.context"].get_remaining_time_in_millis() / 1000 - TO_ANSWER_SECONDS
        try:
            async with asyncio.timeout(max(0.0, left)):
                await self._app(scope, receive, watched)
        except TimeoutError:
            if begun:
                raise
            problem = OutOfTime("The function's time is over; allow it more, or ask for less.")
            await answer(Request(scope), problem)(scope, receive, send)


@contextmanager
def started(service: Service) -> Iterator[Handler]:
    """Migrate and start a service, and give what turns an event into its answer."""
    try:
        settings = cli.prepare(service)
        cli.migrate_database(service, settings)
    except Refused as error:
        cli.refuse(service, str(error))
        raise CannotStart(service.name) from error
    app = service.app(settings)
    with asyncio.Runner() as runner:
        loop = runner.get_loop()
        asyncio.set_event_loop(loop)  # where Mangum looks for one
        lifespan = app.router.lifespan_context(app)
        loop.run_until_complete(lifespan.__aenter__())
        try:
            # Left to itself, Mangum would start and stop the app for each event.
            text = [*DEFAULT_TEXT_MIME_TYPES, MEDIA_TYPE]
            handler: Any = Mangum(Deadline(app), lifespan="off", text_mime_types=text)
            yield handler
        finally:
            loop.run_until_complete(lifespan.__aexit__(None, None, None))
            asyncio.set_event_loop(None)


def serve_one(api: RuntimeApi, handler: Handler) -> None:
    event = api.next_event()
    try:
        result = handler(event.body, event)
    except Exception as error:
        logger.exception("The event %s is none that this service can answer.", event.aws_request_id)
        api.report(f"/invocation/{event.aws_request_id}/error", error)
    else:
        api.answer(event, result)


def main() -> int:
    """Answer events until Lambda ends the process. Returns only when something is wrong."""
    with closing(RuntimeApi(os.environ["AWS_LAMBDA_RUNTIME_API"])) as api:
        try:
            _serve_all(api)
        except RuntimeApiFailed:
            logger.exception("Lambda's Runtime API does not answer as it should.")
    return 1


def _serve_all(api: RuntimeApi) -> None:
    with ExitStack() as running:
        try:
            handler = running.enter_context(started(Service(os.environ["SERVICE"], port=0)))
        except Exception as error:
            logger.exception("The service can't start.")
            api.report("/init/error", error)
            return
        while True:
            serve_one(api, handler)


if __name__ == "__main__":
    sys.exit(main())
