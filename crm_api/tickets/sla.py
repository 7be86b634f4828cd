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
    target = policy[priority]
    answered_at = next((entry.at for entry in entries if entry.what == "agent_note"), None)
    return Sla(
        first_response=_response(created_at, answered_at, entries, target.response, now),
        next_response=_next_response(entries, target.response, now),
        resolution=_resolution(created_at, entries, target.resolution, now),
    )


def first_due(sla: Sla) -> datetime | None:
    """Return when the first clock that has not ended is due; it may be past."""
    waiting = [sla.first_response, sla.next_response, sla.resolution]
    return min(
        (clock.due_at for clock in waiting if clock and clock.due_at and not clock.is_over),
        default=None,
    )


def _next_response(entries: Sequence[Entry], target: timedelta, now: datetime) -> Clock | None:
    asked_at: datetime | None = None
    answered_at: datetime | None = None
    for entry in entries:
        if entry.what == "customer_note" and (asked_at is None or answered_at is not None):
            asked_at, answered_at = entry.at, None
        elif entry.what == "agent_note" and asked_at is not None and answered_at is None:
            answered_at = entry.at
    if asked_at is None:
        return None
    return _response(asked_at, answered_at, entries, target, now)


def _response(
    asked_at: datetime,
    answered_at: datetime | None,
    entries: Sequence[Entry],
    target: timedelta,
    now: datetime,
) -> Clock:
    spans = _spans(asked_at, answered_at, entries, DONE)
    is_answered = answered_at is not None
    is_over = is_answered or _status(entries) in DONE
    return _read(spans, target, now, has_come=is_answered, is_over=is_over)


def _resolution(
    created_at: datetime, entries: Sequence[Entry], target: timedelta, now: datetime
) -> Clock:
    spans = _spans(created_at, None, entries, _STANDSTILL)
    is_done = _status(entries) in DONE
    return _read(spans, target, now, has_come=is_done, is_over=is_done)


def _status(entries: Iterable[Entry]) -> Status:
    status: Status = "open"
    for entry in entries:
        status = entry.status or status
    return status


def _spans(
    begin: datetime, end: datetime | None, entries: Iterable[Entry], halts: Collection[Status]
) -> list[_Span]:
    """Find the spans in which a clock ran that pauses in some statuses; the last may be open."""
    spans: list[_Span] = []
    since: datetime | None = begin
    for entry in entries:
        if entry.status is None or (end is not None and entry.at > end):
            continue
        at = max(entry.at, begin)
        if since is not None and entry.status in halts:
            spans.append(_Span(since, at))
            since = None
        elif since is None and entry.status not in halts:
            since = at
    if since is not None:
        spans.append(_Span(since, end))
    return spans


def _read(
    spans: Sequence[_Span], target: timedelta, now: datetime, *, has_come: bool, is_over: bool
) -> Clock:
    used = sum(((end or now) - start for start, end in spans), timedelta())
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
