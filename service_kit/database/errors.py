"""What a failing database means to a caller: come back later, or a bug of ours."""

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

# Connection, insufficient resources, object not in prerequisite state (a lock), operator
# intervention (a time limit, a shutdown), system error; and a server that became a standby.
_UNAVAILABLE_SQLSTATES = ("08", "53", "55P03", "57", "58", "25006")
_CONFLICT_SQLSTATES = frozenset({"40001", "40P01"})


class DatabaseUnavailable(ServiceUnavailable):
    slug = "database-unavailable"


class DatabaseBusy(ServiceUnavailable):
    slug = "database-busy"


class DurabilityMissing(RuntimeError):
    """The database may forget what it has acknowledged, so the service does not start on it."""


def origin(error: BaseException) -> BaseException:
    """Find the driver's own error under SQLAlchemy's."""
    while (inner := getattr(error, "orig", None) or error.__cause__) is not None:
        error = inner
    return error


def is_unavailable(error: BaseException) -> bool:
    """Tell a database that can't answer now from a statement that is wrong."""
    cause = origin(error)
    if isinstance(cause, sqlite3.Error):
        code = getattr(cause, "sqlite_errorcode", None)
        return code is not None and code & 0xFF in _UNAVAILABLE_SQLITE
    if (state := getattr(cause, "sqlstate", None)) is not None:
        return str(state).startswith(_UNAVAILABLE_SQLSTATES)
    # A connection that is gone is an InterfaceError without a state; a refused one an OSError.
    return isinstance(cause, OSError) or type(cause).__name__ == "InterfaceError"


def is_conflict(error: BaseException) -> bool:
    """Tell whether PostgreSQL gave up this transaction for another's sake: run it again."""
    return getattr(origin(error), "sqlstate", None) in _CONFLICT_SQLSTATES


def unavailable(error: BaseException) -> DatabaseUnavailable:
    cause = origin(error)
    if getattr(cause, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_FULL:
        return DatabaseUnavailable("The database has no room left. Nothing was changed.")
    return DatabaseUnavailable("The database can't be used at the moment.")
