"""What AWS Lambda calls: one service's app, which starts once and stays up between the events.

    SERVICE=crm_api python -m awslambdaric service_kit.web.aws_lambda.answer

awslambdaric takes an event at a time from the Runtime API, and mangum makes a request of it.
"""

import asyncio
import logging
import os
from contextlib import AsyncExitStack
from http import HTTPStatus
from typing import Any

from mangum import Mangum
from mangum.adapter import DEFAULT_TEXT_MIME_TYPES
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service_kit.problems import MEDIA_TYPE, Problem
from service_kit.process import cli
from service_kit.process.cli import Service
from service_kit.web.problems import answer as answer_problem

# What is left of an event's time for the answer to go out, once its handler had to be stopped.
TO_ANSWER_SECONDS = 0.5

logger = logging.getLogger(__name__)

_running = AsyncExitStack()  # until Lambda ends the process, which it does not announce


class EventFailed(RuntimeError):
    """What Lambda is told of an error, whose own text may hold somebody's data."""


class OutOfTime(Problem):
    status = HTTPStatus.GATEWAY_TIMEOUT
    slug = "out-of-time"


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
            await answer_problem(Request(scope), problem)(scope, receive, send)


def start(service: Service) -> Any:
    """Migrate and start a service; returns what makes an answer of an event. Raises Refused."""
    settings = cli.prepare(service)
    cli.migrate_database(service, settings)
    app = service.app(settings)
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)  # where mangum looks for one
    # Left to itself, mangum would start and stop the app for each event.
    lifespan = app.router.lifespan_context(app)
    loop.run_until_complete(_running.enter_async_context(lifespan))
    text = [*DEFAULT_TEXT_MIME_TYPES, MEDIA_TYPE]
    return Mangum(Deadline(app), lifespan="off", text_mime_types=text)


def answer(event: Any, context: Any) -> Any:
    """Answer one event."""
    try:
        return _handler(event, context)
    except Exception:
        logger.exception("The event %s is none that can be answered.", context.aws_request_id)
        raise EventFailed("The log has the details.") from None


# As Lambda wants it, when the module is loaded: that is before the first event's time begins.
_handler: Any = None
if "AWS_LAMBDA_RUNTIME_API" in os.environ:
    _handler = start(Service(os.environ["SERVICE"], port=0))
