"""A file on its way in: checked by its headers, then kept on the disk while it comes."""

import asyncio
import hashlib
import logging
import tempfile
from dataclasses import dataclass
from email.message import Message
from http import HTTPStatus
from io import FileIO
from pathlib import Path

from fastapi import Request
from starlette.requests import ClientDisconnect

from service_kit.problems import (
    BadRequest,
    BodyTooLarge,
    ServiceUnavailable,
    UnsupportedMediaType,
)
from service_kit.web.auth import GuardedRoute
from service_kit.web.body import allow_slow_body
from service_kit.web.overload import slot_of

CSV = "text/csv"
BYTES_AT_ONCE = 1 << 18

logger = logging.getLogger(__name__)


class FileTooLarge(BodyTooLarge):
    """The file is over the limit of IMPORT_MAX_BYTES, which is 50 MiB by default."""


class NoRoomForFile(ServiceUnavailable):
    """The file can't be kept while it is imported: the service's disk is full, for one."""

    status = HTTPStatus.SERVICE_UNAVAILABLE
    slug = "no-room-for-file"
    headers = {"Retry-After": "60"}


class UploadBroken(BadRequest):
    """The upload broke off before its end. Nothing was changed."""

    slug = "upload-broken"


class UploadRoute(GuardedRoute):
    """Takes a body that is a file, whose size does not count against the caller's rate."""

    def request_of(self, request: Request) -> Request:
        slot_of(request).length = 0
        return request


@dataclass(frozen=True, slots=True)
class Upload:
    """A whole file, without a name, so that nothing of it is left when the process dies."""

    file: FileIO
    bytes: int
    # SHA-256.
    digest: str


async def receive(request: Request, folder: Path | None, most: int) -> Upload:
    """Receive a file of at most so many bytes. Its memory does not grow with it.

    Raises UnsupportedMediaType, FileTooLarge, NoRoomForFile, or UploadBroken.
    """
    _check_headers(request, most)
    allow_slow_body(request)
    file = None
    try:
        file = await asyncio.to_thread(_new_file, folder)
        return await _write(request, file, most)
    except BaseException as error:
        if file is not None:
            file.close()
        if isinstance(error, OSError):
            logger.error("A file that came to be imported can't be kept: %s", error.strerror)
            raise NoRoomForFile(
                "There is no room to keep the file. Nothing was changed."
            ) from error
        if isinstance(error, ClientDisconnect):
            raise UploadBroken("The upload broke off. Nothing was changed.") from None
        raise


def _new_file(folder: Path | None) -> FileIO:
    return tempfile.TemporaryFile(dir=folder, buffering=0)


async def _write(request: Request, file: FileIO, most: int) -> Upload:
    digest, length, pending = hashlib.sha256(), 0, bytearray()

    def flush() -> None:
        digest.update(pending)
        rest = memoryview(bytes(pending))
        while rest:
            rest = rest[file.write(rest) :]

    async for piece in request.stream():
        length += len(piece)
        if length > most:
            raise FileTooLarge(most)
        pending += piece
        if len(pending) >= BYTES_AT_ONCE:
            await asyncio.to_thread(flush)
            pending.clear()
    await asyncio.to_thread(flush)
    return Upload(file, length, digest.hexdigest())


def _check_headers(request: Request, most: int) -> None:
    headers = request.headers
    kind = Message()
    kind["content-type"] = headers.get("content-type", "")
    charset = str(kind.get_param("charset", "utf-8")).lower()
    if kind.get_content_type() != CSV or charset not in {"utf-8", "utf8", "us-ascii"}:
        raise UnsupportedMediaType(f"Send the file as {CSV}, in UTF-8.")
    if headers.get("content-encoding", "identity").lower() != "identity":
        raise UnsupportedMediaType("Send the file as it is, without a Content-Encoding.")
    length = headers.get("content-length", "")
    if length.isdecimal() and (len(length) > 18 or int(length) > most):  # noqa: PLR2004
        raise FileTooLarge(most)
