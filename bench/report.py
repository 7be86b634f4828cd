"""What was found: comparisons, as a table for people and as JSON for programs."""

import json
import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median


@dataclass(frozen=True, slots=True)
class Comparison:
    """One thing measured in turns with its base. `ratio` is own by base, the median of rounds.

    `goal` is the least that the ratio should be, or the most where less is better.
    """

    part: str
    what: str
    base: str
    unit: str
    own: float
    beside: float
    ratio: float
    goal: float | None = None
    less_is_better: bool = False
    note: str = ""

    @property
    def is_reached(self) -> bool | None:
        if self.goal is None:
            return None
        return self.ratio <= self.goal if self.less_is_better else self.ratio >= self.goal


def compare(
    part: str,
    what: str,
    base: str,
    unit: str,
    own: Sequence[float],
    beside: Sequence[float],
    *,
    goal: float | None = None,
    less_is_better: bool = False,
    note: str = "",
) -> Comparison:
    """Compare what two had in each round, round by round."""
    ratios = [one / other if other else 0.0 for one, other in zip(own, beside, strict=True)]
    return Comparison(
        part,
        what,
        base,
        unit,
        median(own),
        median(beside),
        median(ratios),
        goal,
        less_is_better,
        note,
    )


def show(found: Comparison) -> None:
    """Print one line of the table."""
    reached = {None: "", True: "reached", False: "NOT REACHED"}[found.is_reached]
    goal = ""
    if found.goal is not None:
        goal = f"{'≤' if found.less_is_better else '≥'} {found.goal:g}"
    print(
        f"{found.part:<10} {found.what:<44} {found.own:>10.4g} {found.unit:<12}"
        f" {found.base:<26} {found.beside:>10.4g} {found.ratio:>9.3g} {goal:>8} {reached}"
        f"{'  ' + found.note if found.note else ''}",
        flush=True,
    )


def head() -> None:
    print(
        f"{'part':<10} {'what':<44} {'own':>10} {'unit':<12} {'base':<26} {'beside':>10}"
        f" {'ratio':>9} {'goal':>8}"
    )


def save(path: Path, found: Sequence[Comparison], *, quick: bool) -> None:
    """Write all of it as JSON."""
    machine = {"machine": platform.machine(), "python": platform.python_version()}
    rows = [{**asdict(one), "is_reached": one.is_reached} for one in found]
    path.write_text(json.dumps({**machine, "quick": quick, "comparisons": rows}, indent=2) + "\n")
