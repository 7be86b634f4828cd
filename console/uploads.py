"""A file that a form sends, read as it comes: it is passed on, and never in memory as a whole."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from email.message import Message
from email.parser import BytesHeaderParser

from starlette.requests import ClientDisconnect, Request

from console.forms import Form

_LONGEST_FIELD = 10_000
_LONGEST_HEAD = 8_192
_MOST_FIELDS = 20
_END_OF_LINE = b"\r\n"


class NoFile(Exception):
    """The form has no file, or is no form that has one."""


@dataclass(frozen=True, slots=True)
class Upload:
    """The fields that stand before the file, and the file's bytes as they come."""

    form: Form
    content: AsyncIterator[bytes]


async def read_upload(request: Request) -> Upload:
    """Read a form up to its file. Raises NoFile.

    The file may take as long to come as the API lets it, which also limits its size.
    """
    kind = Message()
    kind["content-type"] = request.headers.get("content-type", "")
    boundary = kind.get_boundary()
    if kind.get_content_type() != "multipart/form-data" or not boundary:
        raise NoFile
    request.scope.get("outer_scope", request.scope)["slow_body"] = True
    parts = _Parts(request.stream(), boundary.encode("latin-1", "replace"))
    fields: dict[str, list[str]] = {}
    await parts.next_boundary()
    for _ in range(_MOST_FIELDS):
        head = await parts.head()
        name, file_name = head.get_param("name", header="content-disposition"), head.get_filename()
        if file_name:
            return Upload(Form(fields), _while_others_work(request, parts))
        value = await parts.next_boundary()
        if file_name is None:
            fields.setdefault(str(name), []).append(value.decode(errors="replace"))
    raise NoFile


async def _while_others_work(request: Request, parts: "_Parts") -> AsyncIterator[bytes]:
    async for piece in parts.content():
        yield piece
    if (slot := request.scope.get("slot")) is not None:
        # The API has a deadline of its own for what it does with the file.
        slot.allow(None)


@dataclass(slots=True)
class _Parts:
    """The parts of a multipart body, one after another."""

    stream: AsyncIterator[bytes]
    boundary: bytes
    # As if a line had ended before the first boundary, as one does before each other.
    _buffer: bytes = field(default=_END_OF_LINE)

    async def head(self) -> Message:
        """Read the header lines of a part. Raises NoFile behind the last one."""
        if not (await self._until(_END_OF_LINE, _LONGEST_HEAD)).strip() == b"":
            raise NoFile
        lines = await self._until(_END_OF_LINE * 2, _LONGEST_HEAD)
        return BytesHeaderParser().parsebytes(lines)

    async def next_boundary(self) -> bytes:
        """Read what stands before the next boundary."""
        return await self._until(self._delimiter, _LONGEST_FIELD)

    async def content(self) -> AsyncIterator[bytes]:
        """Read the part's bytes as they come. Raises ClientDisconnect where its end does not."""
        while (end := self._buffer.find(self._delimiter)) < 0:
            # A delimiter may have begun in what has come.
            surely = len(self._buffer) - len(self._delimiter) + 1
            if surely > 0:
                yield self._buffer[:surely]
                self._buffer = self._buffer[surely:]
            if not await self._more():
                raise ClientDisconnect
        if end:
            yield self._buffer[:end]

    @property
    def _delimiter(self) -> bytes:
        return _END_OF_LINE + b"--" + self.boundary

    async def _until(self, mark: bytes, most: int) -> bytes:
        while (end := self._buffer.find(mark)) < 0:
            if len(self._buffer) > most or not await self._more():
                raise NoFile
        found, self._buffer = self._buffer[:end], self._buffer[end + len(mark) :]
        return found

    async def _more(self) -> bool:
        async for piece in self.stream:
            self._buffer += piece
            return True
        return False
