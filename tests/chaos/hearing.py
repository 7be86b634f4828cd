"""Judges what the webhooks' receiver has heard, by the feed as it is in the end."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence

from tests.chaos.receiver import NEWS, ORDERED, Accepted

# Of an event of the feed: its position, id, type and subject.
Event = tuple[int, str, str, str]
CREATED = "customer.created"


def owed_by(route: str, events: Iterable[Event]) -> dict[str, Event]:
    """Return the events that a route reports, by their ids."""
    return {event[1]: event for event in events if route == ORDERED or event[2] == CREATED}


def unheard(accepted: Sequence[Accepted], events: Sequence[Event]) -> Iterator[str]:
    """Find events that a route owes and its receiver has never accepted."""
    for route in (ORDERED, NEWS):
        heard = {one.event_id for one in accepted if one.route == route}
        for position, event_id, kind, subject in owed_by(route, events).values():
            if event_id not in heard:
                yield f"{route}: {kind} of {subject} at {position}, {event_id}"


def heard_twice(accepted: Sequence[Accepted]) -> Iterator[str]:
    """Find events that came to one route under two ids: no receiver can know that they are one."""
    ids: defaultdict[tuple[str, str], set[str]] = defaultdict(set)
    events: defaultdict[str, set[tuple[str, str]]] = defaultdict(set)
    for one in accepted:
        ids[one.route, one.event_id].add(one.webhook_id)
        events[one.webhook_id].add((one.route, one.event_id))
    yield from (
        f"{event} came as {sorted(names)}" for event, names in ids.items() if len(names) > 1
    )
    yield from (f"{name} was of {sorted(of)}" for name, of in events.items() if len(of) > 1)


def disordered(accepted: Sequence[Accepted], events: Sequence[Event]) -> Iterator[str]:
    """Find events of the ordered route that came behind a later one of the same subject.

    What counts is when each came first. Those that a restored CRM has lost have no place any more.
    """
    owed = owed_by(ORDERED, events)
    newest: dict[str, int] = {}
    for one in _first_of_each(accepted):
        if one.route != ORDERED or one.event_id not in owed:
            continue
        position, _, kind, subject = owed[one.event_id]
        if position < newest.get(subject, 0):
            yield f"{kind} of {subject} at {position} came behind {newest[subject]}"
        newest[subject] = max(position, newest.get(subject, 0))


def _first_of_each(accepted: Sequence[Accepted]) -> Iterable[Accepted]:
    first: dict[str, Accepted] = {}
    for one in accepted:
        first.setdefault(one.webhook_id, one)
    return first.values()
