"""Log lines: text for people, JSON for machines, the request's id on each, no secrets in any."""

import json
import logging
import os
import re
import sys
from contextvars import ContextVar
from datetime import UTC, datetime

_request_id: ContextVar[str] = ContextVar("request_id", default="")
_address: ContextVar[str | None] = ContextVar("address", default=None)

# Possessive, and tried only where a word begins, so that each letter is looked at once: a long word
# must not stop the event loop.
_WORD = r"[^\s@<>\"'(),:;]"
_EMAIL = re.compile(rf"(?<!{_WORD}){_WORD}++@{_WORD}++")
_BEARER = re.compile(r"(?i)\bbearer\s++\S++")
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f-\x9f\u2028\u2029]")

_TRACEBACK = "Traceback (most recent call last):\n"

LONGEST = 8 * 1024  # characters of one message, field or line of a traceback

# What every LogRecord has, and what uvicorn adds for terminals; the rest came with `extra=` and is
# worth showing.
_STANDARD = frozenset(vars(logging.makeLogRecord({})))
_STANDARD |= {"message", "asctime", "taskName", "color_message"}


def current_request_id() -> str:
    return _request_id.get()


def new_request_id() -> str:
    return os.urandom(16).hex()


def use_request_id(request_id: str) -> None:
    """Put this id on every later log line, problem and onward request of the current task."""
    _request_id.set(request_id)


def current_address() -> str | None:
    """Return where the request of the current task comes from; None for a command's."""
    return _address.get()


def use_address(address: str | None) -> None:
    _address.set(address)


def configure(level: str, style: str) -> None:
    """Send all logging to stderr. `style` is `text` or `json`."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter() if style == "json" else TextFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for name in ("uvicorn", "uvicorn.error", "alembic"):
        logging.getLogger(name).handlers.clear()
        logging.getLogger(name).propagate = True
    # Their INFO is about themselves: every request sent, every process id.
    for name in ("httpx", "httpcore", "alembic", "asyncio", "uvicorn"):
        logging.getLogger(name).setLevel(max(logging.WARNING, logging.getLevelName(level)))


def clean(text: str) -> str:
    """Take out what must not be in a log, and what would forge a second line; cut what is long."""
    if len(text) > LONGEST:
        text = f"{text[:LONGEST]} … (cut)"
    text = _BEARER.sub("Bearer [token]", _EMAIL.sub("[e-mail]", text))
    return _CONTROL.sub(lambda match: f"\\x{ord(match[0]):02x}", text)


def _instant(record: logging.LogRecord) -> str:
    at = datetime.fromtimestamp(record.created, UTC)
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _fields(record: logging.LogRecord) -> dict[str, str]:
    fields = {name: value for name, value in vars(record).items() if name not in _STANDARD}
    if request_id := _request_id.get():
        fields.setdefault("request_id", request_id)
    return {name: clean(str(value)) for name, value in fields.items()}


class _Formatter(logging.Formatter):
    def parts(self, record: logging.LogRecord) -> tuple[str, list[str]]:
        """Return the message and the lines of a traceback, cleaned."""
        message = record.getMessage()
        trace = self.formatException(record.exc_info) if record.exc_info else ""
        if message.startswith(_TRACEBACK):  # as uvicorn tells why a service does not start
            message, trace = "The service ends, since a part of it has failed.", message
        return clean(message), [clean(line) for line in trace.splitlines()]


class TextFormatter(_Formatter):
    """`INFO: what happened [2026-01-05T12:00:00.000Z request_id=…]`, a traceback below it."""

    def format(self, record: logging.LogRecord) -> str:
        # Piece by piece: what is taken out of one must not take our bracket along.
        fields = "".join(f" {name}={value}" for name, value in _fields(record).items())
        message, trace = self.parts(record)
        line = f"{record.levelname}: {message} [{_instant(record)}{fields}]"
        return "\n    ".join([line, *trace])


class JsonFormatter(_Formatter):
    """One JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        message, trace = self.parts(record)
        line = {
            "time": _instant(record),
            "level": record.levelname,
            "logger": record.name,
            "message": message,
            **_fields(record),
        }
        if trace:
            line["traceback"] = "\n".join(trace)
        return json.dumps(line, ensure_ascii=False)
