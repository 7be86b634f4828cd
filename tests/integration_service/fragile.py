"""A real database in front of which things go wrong, at the moment that a test names."""

from collections import deque
from collections.abc import Callable
from typing import Any

from sqlalchemy import Connection

from service_kit.database import Database, DatabaseUnavailable


class Killed(BaseException):
    """The process ends here; nothing of ours gets to handle it."""


class FragileDatabase(Database):
    """Fails before or after its next writes as `before` and `after` say, one a write.

    While `is_away` it can't be written to at all. `check` finds what has never happened.
    """

    def __init__(self, sound: Database) -> None:
        super().__init__()
        self._sound = sound
        self.committed = sound.committed
        self.before: deque[BaseException | None] = deque()
        self.after: deque[BaseException | None] = deque()
        self.is_away = False
        self.has_refused = True

    async def open(self) -> None:
        await self._sound.open()

    async def close(self) -> None:
        await self._sound.close()

    async def read(self, work: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        return await self._sound.read(work, *args, **kwargs)

    async def scan(self, work: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        return await self._sound.scan(work, *args, **kwargs)

    async def write(self, work: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        if self.is_away:
            self.has_refused = True
            raise away()
        _fail(self.before)
        result = await self._sound.write(work, *args, **kwargs)
        _fail(self.after)
        return result

    def _trial_write(self, db: Connection) -> None:
        self._sound._trial_write(db)

    def go_away(self) -> None:
        self.is_away, self.has_refused = True, False

    def heal(self) -> None:
        self.before.clear()
        self.after.clear()

    def check(self) -> None:
        """Fail for a failure that nobody has met."""
        assert not self.before, f"{len(self.before)} writes were not made, which were to fail"
        assert not self.after, f"{len(self.after)} writes were not made, which were to fail"
        assert self.has_refused, "nobody has written to it while it was away"


def _fail(failures: deque[BaseException | None]) -> None:
    failure = failures.popleft() if failures else None
    if failure is not None:
        raise failure


def away() -> DatabaseUnavailable:
    return DatabaseUnavailable("It is away.")
