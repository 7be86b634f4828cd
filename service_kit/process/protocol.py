"""uvicorn's HTTP/1.1 protocol with bounds on how much a client may send, and in what time.

uvicorn documents `http=` for a protocol class, not what one may build on; test_protocol.py names
each attribute of uvicorn's that is used here.
"""

import asyncio
import logging
import re
import resource
import uuid
from collections import deque
from http import HTTPStatus
from math import inf

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from service_kit.problems import MEDIA_TYPE, BadRequest, Problem, phrase, write
from service_kit.process.addresses import client_of
from service_kit.process.shares import Shares

logger = logging.getLogger(__name__)

MOST_CONNECTIONS = 2000

_AUTHORITY_END = re.compile(rb"[/?#]")
# What the client still has to send: nothing, the rest of a head, or the rest of a body.
_NOTHING, _HEAD, _BODY = range(3)


def most_connections() -> int:
    """Return how many connections a process keeps: half of the files that it may have open."""
    may_open, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return MOST_CONNECTIONS if may_open < 0 else min(MOST_CONNECTIONS, may_open // 2)


class RequestTimeout(Problem):
    status = HTTPStatus.REQUEST_TIMEOUT
    slug = "request-timeout"


class RequestHeadTooLarge(Problem):
    status = HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE
    slug = "request-head-too-large"


class OneWrite:
    """Sends the head of an answer together with its body, as ASGI allows.

    Each write is a system call: in the second, a look-up by id would spend a seventh of its time.
    """

    __slots__ = ("_head", "_head_is_out", "_transport", "is_closing")

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._head = b""
        self._head_is_out = False
        self.is_closing = transport.is_closing

    def write(self, data: bytes) -> None:
        if self._head:
            self._transport.write(self._head + data)
            self._head, self._head_is_out = b"", True
        elif self._head_is_out or data.startswith(b"HTTP/1.1 100"):
            self._transport.write(data)
        else:
            self._head = data

    def flush(self) -> None:
        if self._head:
            self.write(b"")

    def close(self) -> None:
        self.flush()
        self._transport.close()


class DeadlineProtocol(HttpToolsProtocol):
    """Cuts off clients that are too slow or send too much, and never a slow handler.

    A connection has one timer, which looks at `_due` when it fires; a request only moves `_due`.
    Offers to upgrade are ignored, so uvicorn's `ws` has no effect.
    """

    head_deadline = 10.0
    body_deadline = 20.0
    # What must come of a slow body within that time, so that it is not cut: 26 kbit/s.
    least_body_bytes = 64 * 1024
    linger = 1.0
    max_head_bytes = 16 * 1024
    max_header_count = 100
    max_pipelined = 32
    # Of all clients of this process together, and how much of that each has.
    open_connections = Shares(most_connections())

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._client = client_of(self.client[0] if self.client else "")
        self._is_let_in = self.open_connections.take(self._client)
        self.url = b""
        self._refused = False
        self._unanswered: deque[RequestResponseCycle] = deque()
        self._held = 0  # bytes the parser may hold: those fed since it last reported something
        self._came = 0  # of a body, within its deadline
        self._unsent: float = inf
        self._tick = min(self.head_deadline, self.body_deadline)
        self._expect(_HEAD, self.head_deadline)
        self._timer = self.loop.call_later(self._tick, self._check)
        if not self._is_let_in:
            logger.info("Connection cut: too many are open, in all or from %s.", self._client)
            transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._is_let_in:
            self.open_connections.give_back(self._client)
        self._timer.cancel()
        for cycle in self._unanswered:  # uvicorn marks the latest alone; on uvloop, writing raises
            cycle.disconnected = True
        super().connection_lost(exc)

    def resume_writing(self) -> None:
        self._unsent = inf
        super().resume_writing()

    def data_received(self, data: bytes) -> None:
        self._unset_keepalive_if_required()
        if self._awaited == _NOTHING:
            self._expect(_HEAD, self.head_deadline)
        while data and not self._refused:
            room = self.max_head_bytes - self._held
            data = self._feed(data[:room]) + data[room:]

    def _feed(self, piece: bytes) -> bytes:
        """Feed the parser as much as it has room for. Returns what must be parsed again."""
        self._held += len(piece)
        try:
            self.parser.feed_data(piece)
        except httptools.HttpParserUpgrade as upgrade:
            head = self._head_without_upgrade()
            # After `Connection: close` the parser that saw the offer would parse nothing more.
            self.parser = httptools.HttpRequestParser(self)
            self.parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn does
            return head + piece[upgrade.args[0] :]
        except httptools.HttpParserError as error:
            cause = error.__context__
            invalid = BadRequest(f"This is not a valid HTTP/1.1 request: {error}.")
            self._refuse(cause if isinstance(cause, Problem) else invalid)
        else:
            if self._held >= self.max_head_bytes:
                most = f"Request line and headers may have at most {self.max_head_bytes} bytes."
                self._refuse(RequestHeadTooLarge(most))
        return b""

    def _head_without_upgrade(self) -> bytes:
        # The parser leaves the body of an upgrade to another protocol: uvicorn would lose it or,
        # worse, read it as the next request. Java's client asks for h2c in every request.
        self._held = 0
        version = self.parser.get_http_version().encode()
        lines = [b"%b %b HTTP/%b" % (self.parser.get_method(), self.url, version)]
        lines += [b"%b: %b" % header for header in self.headers if header[0] != b"upgrade"]
        return b"\r\n".join(lines) + b"\r\n\r\n"

    def on_headers_complete(self) -> None:
        self._check_head()
        if self.parser.should_upgrade():
            return
        if not self.url.startswith(b"/"):
            self._take_host_of_target()
        super().on_headers_complete()
        # All that an answer asks of its transport: write, close and is_closing.
        self.cycle.transport = OneWrite(self.transport)  # type: ignore[assignment]
        self._unanswered.append(self.cycle)
        self.headers = []  # the parser adds the trailers, which must not reach the app as headers
        self._held = self._came = 0
        self._expect(_BODY, self.body_deadline)

    def _take_host_of_target(self) -> None:
        """Replace the Host header where the target is a whole URL: RFC 9112, section 3.2.2."""
        _, is_whole, rest = self.url.partition(b"://")
        if is_whole:
            host = _AUTHORITY_END.split(rest, maxsplit=1)[0].rpartition(b"@")[2]
            others = [header for header in self.headers if header[0] != b"host"]
            self.headers[:] = [(b"host", host), *others]  # in place: the scope has this list

    def on_response_complete(self) -> None:
        self._unanswered.popleft().transport.flush()  # type: ignore[attr-defined]
        super().on_response_complete()

    def on_body(self, body: bytes) -> None:
        self._held = 0
        self._came += len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        if self.parser.should_upgrade():
            return  # it is parsed again
        super().on_message_complete()
        self.url = b""
        self._held = 0
        self._expect(_NOTHING, inf)

    def _expect(self, part: int, seconds: float) -> None:
        self._awaited = part
        self._due = self.loop.time() + seconds

    def _check_head(self) -> None:
        if len(self.headers) > self.max_header_count:
            most = f"A request may have at most {self.max_header_count} headers."
            raise RequestHeadTooLarge(most)
        version = self.parser.get_http_version()
        if version not in {"1.1", "1.0"} or self.parser.get_method() == b"CONNECT":
            raise BadRequest("This server speaks HTTP/1.1 and is not a proxy.")
        hosts = [name for name, _ in self.headers].count(b"host")
        if hosts != 1 and (hosts or version == "1.1"):
            raise BadRequest("A request must have exactly one Host header.")
        if len(self.pipeline) >= self.max_pipelined:
            raise BadRequest(f"At most {self.max_pipelined} requests may wait for their turn.")

    def _check(self) -> None:
        now = self.loop.time()
        at = self._due if now < self._due < now + self._tick else now + self._tick
        self._timer = self.loop.call_at(at, self._check)
        if self._takes_nothing():
            logger.info("Connection cut: the client takes nothing of its answer.")
            self.transport.abort()
        elif self._due <= now and not self.transport.is_closing():
            self._on_overdue()

    def _takes_nothing(self) -> bool:
        """Return whether nothing of an answer was sent since the last look."""
        if not (self.flow.write_paused or self.transport.is_closing()):
            return False  # only in these two states nothing is added to it
        before, self._unsent = self._unsent, self.transport.get_write_buffer_size()
        return self._unsent >= before

    def _on_overdue(self) -> None:
        if self._awaited == _HEAD and not self._held:
            logger.info("Connection cut: nothing came.")
            self.transport.close()
        elif not (self.flow.read_paused or self._earlier_is_unanswered() or self._comes_on()):
            part = "head" if self._awaited == _HEAD else "body"
            self._refuse(RequestTimeout(f"The {part} of the request took too long to come."))

    def _comes_on(self) -> bool:
        """Give a body more time that its route lets be slow, unless next to nothing came of it."""
        if self._awaited != _BODY or not self.cycle.scope.get("slow_body"):
            return False
        if self._came < self.least_body_bytes:
            return False
        self._came = 0
        self._expect(_BODY, self.body_deadline)
        return True

    def _earlier_is_unanswered(self) -> bool:
        return bool(self._unanswered) and (
            self._awaited != _BODY or self._unanswered[0] is not self.cycle
        )

    def _refuse(self, problem: Problem) -> None:
        """Stop reading, and answer with the problem unless an earlier request is unanswered."""
        request_id = uuid.uuid4().hex
        logger.info("Connection cut: %s", problem.detail, extra={"request_id": request_id})
        self._refused = True
        self._due = inf
        if self._awaited == _BODY:
            self.cycle.disconnected = True
            if self.pipeline or self.cycle.response_started:
                self.transport.close()
                return
        elif self._earlier_is_unanswered():
            self.cycle.keep_alive = False  # the earlier requests are answered, then it closes
            return
        self._answer(problem, request_id)

    def _answer(self, problem: Problem, request_id: str) -> None:
        path = self.url.partition(b"?")[0].decode("ascii", "replace")
        body = write(problem.document(), path, request_id)
        date = b"".join(b"%b: %b\r\n" % header for header in self.server_state.default_headers)
        head = (
            f"HTTP/1.1 {problem.status} {phrase(problem.status)}\r\n"
            f"content-type: {MEDIA_TYPE}\r\ncontent-length: {len(body)}\r\n"
            f"connection: close\r\nx-request-id: {request_id}\r\n"
            "x-content-type-options: nosniff\r\ncache-control: no-store\r\n"
        )
        self.transport.write(head.encode() + date + b"\r\n" + body)
        # Closing with unread bytes resets the connection and can lose the answer: RFC 9112, 9.6.
        self.flow.pause_reading()
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self._timer.cancel()
        self._timer = self.loop.call_later(self.linger, self.transport.abort)
