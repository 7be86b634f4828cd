"""Shows what came of campaigns."""

from collections.abc import Sequence

from tests.chaos.campaign import Score

# What has a line of its own.
NAMED = {"missing", "double", "unheard", "heard_twice", "disordered"}


def table(scores: Sequence[Score]) -> str:
    rows: dict[str, list[object]] = {
        "seed": [score.plan.seed for score in scores],
        "seconds of faults": [f"{score.plan.seconds:g}" for score in scores],
        "pollers": [score.plan.pollers for score in scores],
        "customers": [score.customers for score in scores],
        "of them erased": [score.erased for score in scores],
        "answers to clients": [score.answers for score in scores],
        "events accepted by webhooks": [score.heard for score in scores],
        "faults": [score.faults.total() for score in scores],
    }
    for fault in sorted({fault for score in scores for fault in score.faults}):
        rows[f"  {fault}"] = [score.faults[fault] for score in scores]
    rows["troubles"] = [score.troubles.total() for score in scores]
    for trouble in sorted({trouble for score in scores for trouble in score.troubles}):
        rows[f"  {trouble}"] = [score.troubles[trouble] for score in scores]
    rows["kills"] = [score.kills.total() for score in scores]
    for victim in sorted({victim for score in scores for victim in score.kills}):
        rows[f"  {victim}"] = [score.kills[victim] for score in scores]
    rows |= {
        "all made up for after": [f"{score.quiet_after:.1f} s" for score in scores],
        "missing": [len(score.findings.missing) for score in scores],
        "double": [len(score.findings.double) for score in scores],
        "webhooks: missing": [len(score.findings.unheard) for score in scores],
        "webhooks: double": [len(score.findings.heard_twice) for score in scores],
        "webhooks: out of order": [len(score.findings.disordered) for score in scores],
        "all else that is wrong": [_all_else(score) for score in scores],
    }
    rows["reconcile"] = ["exact" if score.reconciles else "differs" for score in scores]
    if any(score.naive for score in scores):
        naive = [score.naive or ("", "") for score in scores]
        rows["naive poller: missing"] = [missing for missing, _ in naive]
        rows["naive poller: double"] = [double for _, double in naive]
    lines = [_line("", [score.engine for score in scores])]
    return "\n".join(lines + [_line(name, values) for name, values in rows.items()])


def _all_else(score: Score) -> int:
    return sum(len(found) for name, found in vars(score.findings).items() if name not in NAMED)


def _line(name: str, values: Sequence[object]) -> str:
    return f"{name:<32}" + "".join(f"{value!s:>14}" for value in values)
