"""Counts what is sent to databases."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

from sqlalchemy import Connection, Engine, event

from service_kit.database import prepared


@contextmanager
def before_each_statement(
    note: Callable[[str], None], source: Connection | Engine | None = None
) -> Iterator[None]:
    """Call `note` with each statement that one connection or engine sends, or all of them do."""

    def by_core(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        note(statement)

    def by_driver(db: Connection, compiled: Any, *rest: Any) -> Any:
        if source is None or source is db or source is db.engine:
            note(compiled.sql)
        return run(db, compiled, *rest)

    target = Engine if source is None else source
    run = prepared._run
    event.listen(target, "before_cursor_execute", by_core)
    try:
        with mock.patch.object(prepared, "_run", by_driver):  # SQLAlchemy's events don't see these
            yield
    finally:
        event.remove(target, "before_cursor_execute", by_core)


@contextmanager
def statements() -> Iterator[list[str]]:
    """Give the statements that are sent to this process's databases, without savepoints."""
    seen: list[str] = []
    with before_each_statement(seen.append):
        yield seen
