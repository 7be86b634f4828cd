"""Three clocks of a ticket: a pure function of its history, the targets and an instant.

The first response runs from the start to the first public note of an agent; the next response from
a public note of the customer to the next public note of an agent; neither while the ticket is done.
The resolution runs while the ticket neither waits for someone else nor is done. What a clock has
used is never lost: not by a pause, not by reopening, not by another priority, which only changes
the target.
"""

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from operator import attrgetter
from typing import Literal, NamedTuple

from crm_api.tickets.lifecycle import DONE, PRIORITIES, WAITING, Priority, Status

ClockState = Literal["running", "paused", "met", "breached"]
Happening = Literal["status", "agent_note", "customer_note"]


@dataclass(frozen=True, slots=True)
class Target:
    """How long a response and the resolution may take."""

    response: timedelta
    resolution: timedelta


Policy = Mapping[Priority, Target]

_STANDSTILL = WAITING | DONE
_UNITS = {"m": timedelta(minutes=1), "h": timedelta(hours=1), "d": timedelta(days=1)}
_TARGET = re.compile(r"(\w+)=([1-9]\d{0,4}[mhd])/([1-9]\d{0,4}[mhd])")


def parse_targets(text: str | Policy) -> Policy:
    """Read `urgent=1h/4h,high=4h/1d,…`: a response and a resolution for each priority.

    A time is a number of minutes (m), hours (h) or days (d). Raises ValueError.
    """
    if not isinstance(text, str):
        return text
    policy: dict[Priority, Target] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        found = _TARGET.fullmatch(part)
        if found is None:
            raise ValueError("each entry is PRIORITY=RESPONSE/RESOLUTION, as in urgent=1h/4h")
        policy[_priority(found[1])] = Target(_time(found[2]), _time(found[3]))
    if missing := [priority for priority in PRIORITIES if priority not in policy]:
        raise ValueError(f"no target for {', '.join(missing)}")
    return policy


def _priority(text: str) -> Priority:
    for priority in PRIORITIES:
        if priority == text:
            return priority
    raise ValueError(f"the priorities are {', '.join(PRIORITIES)}")


def _time(text: str) -> timedelta:
    return int(text[:-1]) * _UNITS[text[-1]]


class Entry(NamedTuple):
    """Something that happened to a ticket and affects its clocks."""

    at: datetime
    what: Happening
    status: Status | None = None


_AT = attrgetter("at")


class Clock(NamedTuple):
    """Where one clock stands. `due_at` is empty while it is paused: the pause's end decides it."""

    state: ClockState
    due_at: datetime | None
    used: timedelta
    target: timedelta
    # Whether the clock has ended: answered, in time or late, or the ticket is done.
    is_over: bool


class Sla(NamedTuple):
    first_response: Clock
    next_response: Clock | None
    resolution: Clock


class _Span(NamedTuple):
    start: datetime
    end: datetime | None


def clocks(
    created_at: datetime,
    priority: Priority,
    history: Iterable[Entry],
    policy: Policy,
    now: datetime,
) -> Sla:
    """Read the three clocks at an instant. The order of the history does not matter."""
    entries = sorted([entry for entry in history if entry.at <= now], key=_AT)
    changes = [entry for entry in entries if entry.status is not None]
    is_done = bool(changes) and changes[-1].status in DONE
    target = policy[priority]
    first_answered_at, asked_at, answered_at = _questions(entries)

    def response(asked_at: datetime, answered_at: datetime | None) -> Clock:
        spans = _spans(asked_at, answered_at, changes, DONE)
        has_come = answered_at is not None
        return _read(spans, target.response, now, has_come=has_come, is_over=has_come or is_done)

    spans = _spans(created_at, None, changes, _STANDSTILL)
    return Sla(
        first_response=response(created_at, first_answered_at),
        next_response=response(asked_at, answered_at) if asked_at is not None else None,
        resolution=_read(spans, target.resolution, now, has_come=is_done, is_over=is_done),
    )


def first_due(sla: Sla) -> datetime | None:
    """Return when the first clock that has not ended is due; it may be past."""
    waiting = [sla.first_response, sla.next_response, sla.resolution]
    return min(
        (clock.due_at for clock in waiting if clock and clock.due_at and not clock.is_over),
        default=None,
    )


def _questions(
    entries: Sequence[Entry],
) -> tuple[datetime | None, datetime | None, datetime | None]:
    """Find when an agent first answered, when the customer last asked, and the answer to that."""
    first_answered_at: datetime | None = None
    asked_at: datetime | None = None
    answered_at: datetime | None = None
    for entry in entries:
        if entry.what == "customer_note" and (asked_at is None or answered_at is not None):
            asked_at, answered_at = entry.at, None
        elif entry.what == "agent_note":
            first_answered_at = first_answered_at or entry.at
            if asked_at is not None:
                answered_at = answered_at or entry.at
    return first_answered_at, asked_at, answered_at


def _spans(
    begin: datetime, end: datetime | None, changes: Iterable[Entry], halts: Collection[Status]
) -> list[_Span]:
    """Find the spans in which a clock ran that pauses in some statuses; the last may be open."""
    spans: list[_Span] = []
    since: datetime | None = begin
    for change in changes:
        if end is not None and change.at > end:
            break
        if (change.status in halts) != (since is None):
            at = max(change.at, begin)
            if since is None:
                since = at
            else:
                spans.append(_Span(since, at))
                since = None
    if since is not None:
        spans.append(_Span(since, end))
    return spans


def _read(
    spans: Sequence[_Span], target: timedelta, now: datetime, *, has_come: bool, is_over: bool
) -> Clock:
    used = (spans[0].end or now) - spans[0].start
    for start, end in spans[1:]:
        used += (end or now) - start
    is_paused = not has_come and spans[-1].end is not None
    due_at = _due_at(spans, target, is_paused=is_paused)
    if used > target:
        return Clock("breached", due_at, used, target, is_over)
    state: ClockState = "met" if has_come else "paused" if is_paused else "running"
    return Clock(state, due_at, used, target, is_over)


def _due_at(spans: Sequence[_Span], target: timedelta, *, is_paused: bool) -> datetime | None:
    """Find the instant at which the target is used up, as far as the spans tell."""
    *earlier, last = spans
    left = target
    for span in earlier:
        assert span.end is not None
        if span.end - span.start > left:
            return span.start + left
        left -= span.end - span.start
    if is_paused and last.end is not None and last.end - last.start <= left:
        return None
    return last.start + left
