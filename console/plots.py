"""Plots as rectangles of an SVG: made on the server, in coordinates of their own."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from console.rendering import instant, number

# In which an SVG is as wide as its page.
WIDTH, HEIGHT = 960, 62
_BASE = HEIGHT - 2
_QUARTER = 15
_GAP = 0.3
# So that a bar of next to nothing is seen.
_LEAST = 6.0


class Bar(NamedTuple):
    """One rectangle. `title` says what it stands for."""

    x: float
    y: float
    width: float
    height: float
    is_bad: bool
    title: str


class Day(NamedTuple):
    """What a day's deliveries came to, drawn by the quarter of an hour."""

    bars: Sequence[Bar]
    delivered: int
    failed: int
    most_a_minute: int
    busiest_at: datetime


class Tries(NamedTuple):
    """The attempts at a delivery on an axis from when it was owed to the next one, or the last."""

    bars: Sequence[Bar]
    begin: datetime
    end: datetime
    # Where the next attempt stands, if there is to be one.
    next_x: float | None
    failed: int


def tries_of(delivery: Mapping[str, Any]) -> Tries | None:
    """Draw each attempt at the time it took place, as tall as it was long.

    None where that says nothing: there is none, or one that was the last.
    """
    attempts, waits = delivery["attempts"], delivery["next_attempt_at"]
    if not attempts or (len(attempts) == 1 and waits is None):
        return None
    ends = [instant(one["at"]) for one in attempts]
    begin = min(instant(delivery["created_at"]), *ends)
    end = max(ends if waits is None else [*ends, instant(waits)])
    seconds = max((end - begin).total_seconds(), 1.0)
    longest = max(*(one["duration_ms"] for one in attempts), 1.0)

    def x_of(at: datetime) -> float:
        return round((WIDTH - _LEAST) * (at - begin).total_seconds() / seconds, 1)

    bars = []
    for one, at in zip(attempts, ends, strict=True):
        height = max(_LEAST, _BASE * one["duration_ms"] / longest)
        answer = one["status"] or ("no answer" if one["error_class"] else "done")
        title = f"{at:%Y-%m-%d %H:%M:%S} UTC: {answer}, {number(one['duration_ms'])} ms"
        is_bad = one["error_class"] is not None
        y = round(_BASE - height, 1)
        bars.append(Bar(x_of(at), y, _LEAST, round(height, 1), is_bad, title))
    next_x = None if waits is None else x_of(instant(waits)) + _LEAST / 2
    return Tries(bars, begin, end, next_x, sum(bar.is_bad for bar in bars))


def day_of(counts: Mapping[str, Any]) -> Day:
    """Draw what `GET /deliveries/per-minute` has counted."""
    since = instant(counts["since"])
    delivered, failed = counts["delivered"], counts["failed_attempts"]
    most = max(delivered)
    quarters = [
        (sum(delivered[at : at + _QUARTER]), sum(failed[at : at + _QUARTER]))
        for at in range(0, len(delivered), _QUARTER)
    ]
    highest = max(1, *(sum(quarter) for quarter in quarters))
    step = WIDTH / len(quarters)
    bars: list[Bar] = []
    for place, quarter in enumerate(quarters):
        begin = since + place * timedelta(minutes=_QUARTER)
        top = float(_BASE)
        for value, word in zip(quarter, ("delivered", "failed"), strict=True):
            height = _BASE * value / highest
            top -= height
            if value:
                bars.append(
                    Bar(
                        x=round(place * step, 1),
                        y=round(top, 1),
                        width=round(step * (1 - _GAP), 1),
                        height=round(height, 1),
                        is_bad=word == "failed",
                        title=f"{begin:%H:%M} UTC: {number(value)} {word}",
                    )
                )
    busiest = since + timedelta(minutes=delivered.index(most))
    return Day(bars, sum(delivered), sum(failed), most, busiest)
