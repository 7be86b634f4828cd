"""What a campaign is made of."""

from dataclasses import dataclass

# Promise P4: how long after the last fault everything must be made up for.
QUIET_SECONDS = 60.0
# So long a recovery keeps the next one waiting: it may be in the way of the last restore.
RECOVERY_SECONDS = 75.0

# links misbehave; processes die; links to services and to PostgreSQL fall silent; clocks jump both
# ways; databases are put back from older copies; people are erased while nothing is sent.
KINDS = frozenset({"links", "kills", "mute", "clocks", "restores", "pauses"})


@dataclass(frozen=True)
class Plan:
    """What a campaign is made of. With the same seed each link has the same faults in store."""

    seed: int
    seconds: float
    pollers: int = 1
    quiet_seconds: float = QUIET_SECONDS
    between_kills: tuple[float, float] = (0.8, 2.0)
    # The service that is struck more often than the others, if any.
    target: str | None = None
    kinds: frozenset[str] = frozenset({"links", "kills"})
