"""Answers that many readers share."""

from fastapi import Response
from starlette.types import Receive, Scope, Send

PIECE = 32 * 1024


class SharedResponse(Response):
    """Sends a text in pieces: a slow reader holds a piece of its own, and not a copy of it all."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        start = {"status": self.status_code, "headers": self.raw_headers}
        await send({"type": "http.response.start", **start})
        for begin in range(0, len(self.body), PIECE):
            piece = self.body[begin : begin + PIECE]
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": b""})
