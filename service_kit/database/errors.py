"""What a database error means: come back later, run the work again, or a bug of ours."""

import sqlite3

from service_kit.problems import ServiceUnavailable

_UNAVAILABLE_SQLITE = frozenset(
    {
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_READONLY,
        sqlite3.SQLITE_INTERRUPT,
        sqlite3.SQLITE_NOMEM,
        sqlite3.SQLITE_PROTOCOL,
        sqlite3.SQLITE_CORRUPT,
        sqlite3.SQLITE_NOTADB,
    }
)

# Of a server that was the primary, and is a standby now.
_READ_ONLY_SQLSTATE = "25006"
# Connection, refused password, no such database, insufficient resources, object not in prerequisite
# state (a database closed to connections, a lock), operator intervention (a time limit, a
# shutdown), system error; and a standby.
_UNAVAILABLE_SQLSTATES = ("08", "28", "3D", "53", "55000", "55P03", "57", "58", _READ_ONLY_SQLSTATE)
# Of these, what is soon over: lost connections, too many of them, a server that starts or stops.
_TRANSIENT_SQLSTATES = ("08", "53300", "57P")
_CONFLICT_SQLSTATES = frozenset({"40001", "40P01"})
# asyncpg's errors of a lost connection that have no SQLSTATE: the second one for the moment between
# the server's last message and the end of the socket, the third one while none of several servers
# is the primary.
_LOST_CONNECTION = frozenset(
    {"InterfaceError", "InternalClientError", "TargetServerAttributeNotMatched"}
)


class DatabaseUnavailable(ServiceUnavailable):
    """The database does not answer; the same request may succeed later."""

    slug = "database-unavailable"


class DatabaseBusy(ServiceUnavailable):
    """The database is too busy; the same request may succeed later."""

    slug = "database-busy"


class DurabilityMissing(RuntimeError):
    """The database may forget what it has acknowledged, so the service does not start on it."""


class RunAgain(Exception):
    """Raised by a work that found out too late what it should have locked first."""


def origin(error: BaseException) -> BaseException:
    """Find the driver's error under SQLAlchemy's."""
    while (inner := getattr(error, "orig", None) or error.__cause__) is not None:
        error = inner
    return error


def reason(error: BaseException) -> str:
    """Describe an error for operators in the driver's words; never for callers.

    SQLAlchemy's message would contain a statement's values.
    """
    cause = origin(error)
    words = str(cause).partition("\n")[0] or "no answer in time"
    return ": ".join([words, *getattr(cause, "__notes__", ())])


def is_unavailable(error: BaseException) -> bool:
    """Return whether the database can't answer now, which is no fault of the statement."""
    cause = origin(error)
    if isinstance(cause, sqlite3.Error):
        return sqlite_code(cause) in _UNAVAILABLE_SQLITE
    if state := _sqlstate(cause):
        return state.startswith(_UNAVAILABLE_SQLSTATES)
    return isinstance(cause, OSError) or type(cause).__name__ in _LOST_CONNECTION


def is_transient(error: BaseException) -> bool:
    """Return whether a server starts, stops, hangs up or is silent, which may be over in a moment.

    A refused connection is none of these: it is more likely a wrong address.
    """
    cause = origin(error)
    if state := _sqlstate(cause):
        return state.startswith(_TRANSIENT_SQLSTATES)
    lost = (ConnectionResetError, BrokenPipeError, TimeoutError)
    return isinstance(cause, lost) or type(cause).__name__ in _LOST_CONNECTION


def is_conflict(error: BaseException) -> bool:
    """Return whether a transaction was rolled back in favour of another and must run again."""
    return isinstance(error, RunAgain) or _sqlstate(origin(error)) in _CONFLICT_SQLSTATES


def is_standby(error: BaseException) -> bool:
    """Return whether a server has refused to write, since another one is the primary."""
    return _sqlstate(origin(error)) == _READ_ONLY_SQLSTATE


def sqlite_code(error: BaseException) -> int:
    """Return the primary result code of SQLite's error; 0 where there is none."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF


def translate(error: Exception) -> Exception:
    """Return the error for the caller: DatabaseUnavailable, or the error as it is."""
    if is_unavailable(error):
        meant = DatabaseUnavailable("The database can't be used at the moment.")
        if sqlite_code(origin(error)) == sqlite3.SQLITE_FULL:
            meant = DatabaseUnavailable("The database has no room left. Nothing was changed.")
        meant.__cause__ = error
        return meant
    if isinstance(error, StopIteration):
        return RuntimeError("A work raised StopIteration, which no future can carry.")
    return error


def raise_unavailable(error: Exception) -> None:
    """Raise DatabaseUnavailable if that is what the error means; else return."""
    if (meant := translate(error)) is not error:
        raise meant from error


def _sqlstate(error: BaseException) -> str:
    return str(getattr(error, "sqlstate", None) or "")
