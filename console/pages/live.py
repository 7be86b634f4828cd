"""The stream by which a page that is looked at learns that something has changed.

It says that there is news, and how far: the feed's cursor. Pages then load their live parts anew,
which shows each person what their token may see.
"""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from http import HTTPStatus
from typing import Any, TypeVar

from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from console.platform import Answer, Down, Refused, Unknown
from console.routing import find_session, get
from console.visit import FEED_HEAD, NEEDS_FEED_HEAD, Visit, callers_of
from service_kit.problems import ServiceUnavailable
from service_kit.process.stopping import Stopping

PATH = "/live"
# How long a session is believed; also how soon a connection is found dead that nobody has closed.
CHECK_SECONDS = 5.0
# Between two news: a thousand changes a second must not make pages load a thousand times.
LEAST_SECONDS = 1.0
# When a browser connects again after a cut.
RETRY_MILLISECONDS = 2000
# Longer than the service takes to say that there is no news.
LONGEST_SECONDS = 30.0
LONGEST_CURSOR = 200
# What the feed answers to a cursor of another database, or of what is deleted, or of none.
_OF_THE_CURSOR = {HTTPStatus.BAD_REQUEST, HTTPStatus.CONFLICT, HTTPStatus.GONE}
_ALIVE = ":\n\n"

T = TypeVar("T")


class _Ended(Exception):
    """The session, its right to know, or the service has ended."""


async def stream(visit: Visit) -> Response:
    """Tell of news until the page is left, the session ends or the service stops."""
    # Lambda sends an answer when it is whole. By 204 browsers know not to ask again.
    if not visit.may(NEEDS_FEED_HEAD) or "aws.context" in visit.request.scope:
        return Response(status_code=HTTPStatus.NO_CONTENT)
    if not visit.site.streams.take(visit.session.key):
        return Response(status_code=HTTPStatus.TOO_MANY_REQUESTS, headers={"Retry-After": "60"})
    given = visit.request.headers.get("last-event-id") or visit.query.get("after", "")
    return _EventStream(visit, given if given.isascii() and len(given) <= LONGEST_CURSOR else "")


class _EventStream(StreamingResponse):
    """Has one of the session's streams until it ends, and no place among the requests at work."""

    def __init__(self, visit: Visit, after: str) -> None:
        super().__init__(
            _events(visit, after),
            media_type="text/event-stream",
            headers={"X-Accel-Buffering": "no"},  # nginx would wait for more
        )
        self._visit = visit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if (slot := scope.get("slot")) is not None:
            slot.leave()
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._visit.site.streams.give_back(self._visit.session.key)


async def _events(visit: Visit, after: str) -> AsyncIterator[str]:
    stopping = visit.site.streams.stopping
    yield f"retry: {RETRY_MILLISECONDS}\n\n"
    while not stopping.begun:
        try:
            head = (await _head(visit, after)).json
        except _Ended:
            return
        except (Refused, Down, ServiceUnavailable) as error:
            if isinstance(error, Refused) and error.status in _OF_THE_CURSOR:
                after = ""
            yield _ALIVE
            await stopping.sleep(CHECK_SECONDS)
            continue
        if head["cursor"] == after:
            yield _ALIVE
            continue
        after = head["cursor"]
        yield f"id: {after}\nevent: news\ndata: {head['position']}\n\n"
        await stopping.sleep(LEAST_SECONDS)


async def _head(visit: Visit, after: str) -> Answer:
    """Look whether the session still is, then wait for news until it is time to look again.

    Raises Refused, Down, ServiceUnavailable or _Ended.
    """
    site, request = visit.site, visit.request
    session = await find_session(site, request)
    if session is None:
        raise _Ended
    callers = callers_of(site, request, session.token)
    try:
        who = await site.identities.identify(session.key, session.home, callers)
        if not who.may(NEEDS_FEED_HEAD):
            raise _Ended
        if not after:
            return await callers["crm"].get(FEED_HEAD)
        news = callers["crm"].wait(FEED_HEAD, CHECK_SECONDS, after=after)
        return await _unless_stopped(site.streams.stopping, news)
    except Unknown as error:
        if error.args == (session.home,):
            await site.sessions.remove(session.key)
        raise _Ended from error


async def _unless_stopped(stopping: Stopping, work: Coroutine[Any, Any, T]) -> T:
    """Wait for something, but not past the stop. Raises _Ended."""
    task = asyncio.ensure_future(work)
    await stopping.sleep(LONGEST_SECONDS, task)
    if not task.done():
        raise _Ended
    return task.result()


routes = [get(PATH, stream)]
