"""What a failing database means to a caller: come back later, or a bug of ours."""

import sqlite3

from service_kit.web.problems import ServiceUnavailable

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

# Connection, a password that is refused, no such database, insufficient resources, object not in
# prerequisite state (a database closed to connections, a lock), operator intervention (a time
# limit, a shutdown), system error; and a server that became a standby.
_UNAVAILABLE_SQLSTATES = ("08", "28", "3D", "53", "55000", "55P03", "57", "58", "25006")
# Of these, what is soon over: lost connections, too many of them, a server that starts or stops.
_PASSING_SQLSTATES = ("08", "53300", "57P")
_GONE = frozenset({"InterfaceError", "InternalClientError"})
_CONFLICT_SQLSTATES = frozenset({"40001", "40P01"})


class DatabaseUnavailable(ServiceUnavailable):
    """The database does not answer; the same request may succeed later."""

    slug = "database-unavailable"


class DatabaseBusy(ServiceUnavailable):
    """The database is too busy; the same request may succeed later."""

    slug = "database-busy"


class DurabilityMissing(RuntimeError):
    """The database may forget what it has acknowledged, so the service does not start on it."""


class DatabaseDamaged(sqlite3.DatabaseError):
    """The pages of a SQLite file contradict each other."""

    sqlite_errorcode = sqlite3.SQLITE_CORRUPT
    sqlite_errorname = "SQLITE_CORRUPT"


class RunAgain(Exception):
    """Raised by a work that has found out too late what it should have locked first."""


def origin(error: BaseException) -> BaseException:
    """Find the driver's own error under SQLAlchemy's."""
    while (inner := getattr(error, "orig", None) or error.__cause__) is not None:
        error = inner
    return error


def reason(error: BaseException) -> str:
    """Say for an operator what it was, in the driver's own words; never for a caller.

    SQLAlchemy's words would hold a statement's values.
    """
    cause = origin(error)
    words = str(cause).partition("\n")[0] or "no answer in time"
    return ": ".join([words, *getattr(cause, "__notes__", ())])


def is_unavailable(error: BaseException) -> bool:
    """Tell a database that can't answer now from a statement that is wrong."""
    cause = origin(error)
    if isinstance(cause, sqlite3.Error):
        code = getattr(cause, "sqlite_errorcode", None)
        return code is not None and code & 0xFF in _UNAVAILABLE_SQLITE
    if (state := getattr(cause, "sqlstate", None)) is not None:
        return str(state).startswith(_UNAVAILABLE_SQLSTATES)
    # A connection that is gone is an InterfaceError without a state, and for the moment between the
    # server's last word and the end of the socket an InternalClientError; a refused one an OSError.
    return isinstance(cause, OSError) or type(cause).__name__ in _GONE


def is_passing(error: BaseException) -> bool:
    """Tell a server that starts or stops, hangs up or is silent from one that isn't there.

    The former may be over in a moment; nobody at an address is more likely a wrong address.
    """
    cause = origin(error)
    if (state := getattr(cause, "sqlstate", None)) is not None:
        return str(state).startswith(_PASSING_SQLSTATES)
    away = (ConnectionResetError, BrokenPipeError, TimeoutError)
    return isinstance(cause, away) or type(cause).__name__ in _GONE


def is_conflict(error: BaseException) -> bool:
    """Tell whether a transaction was given up for another's sake, so that it is to run again."""
    return (
        isinstance(error, RunAgain)
        or getattr(origin(error), "sqlstate", None) in _CONFLICT_SQLSTATES
    )


def is_outdated(error: BaseException) -> bool:
    """Tell whether a prepared statement is of a table as it was before a change of its columns.

    PostgreSQL says so before it does anything of the statement.
    """
    return type(origin(error)).__name__ == "InvalidCachedStatementError"


def unavailable(error: BaseException) -> DatabaseUnavailable:
    cause = origin(error)
    if getattr(cause, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_FULL:
        return DatabaseUnavailable("The database has no room left. Nothing was changed.")
    return DatabaseUnavailable("The database can't be used at the moment.")


def meaning(error: Exception) -> Exception:
    """Find what to tell a caller: that the database can't answer now, or the error as it is."""
    if is_unavailable(error):
        meant = unavailable(error)
        meant.__cause__ = error
        return meant
    if isinstance(error, StopIteration):
        return RuntimeError("A work raised StopIteration, which no future can carry.")
    return error


def explain(error: Exception) -> None:
    """Raise what the error means to a caller, where that is something else."""
    if (meant := meaning(error)) is not error:
        raise meant from error
