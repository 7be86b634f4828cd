"""`make simulate`: many runs, on all cores, until one breaks a promise or the time is up."""

import argparse
import multiprocessing
import os
import sys
import tempfile
import time
from pathlib import Path

from tests.simulation.run import Outcome, run, shrink
from tests.simulation.world import new_images

_images: dict[str, bytes] = {}


def _prepare() -> None:
    with tempfile.TemporaryDirectory() as folder:
        _images.update(new_images(Path(folder)))


def _run(seed: int) -> Outcome:
    outcome = run(seed, _images)
    if not outcome.findings:
        outcome.log = []  # not worth its way back
    return outcome


def main() -> int:
    parser = argparse.ArgumentParser(prog="simulate", description=__doc__)
    parser.add_argument("--seed", type=int, default=1, help="of the first run; others follow it")
    parser.add_argument("--examples", type=int, default=3000, help="how many runs at most")
    parser.add_argument("--seconds", type=float, default=90, help="how long at most")
    parser.add_argument("--kinds", nargs="*", help="look for these broken promises alone")
    parser.add_argument("--log", action="store_true", help="print all that happened in a failure")
    parser.add_argument("--no-shrinking", action="store_true", help="find a failure, no more")
    options = parser.parse_args()
    began_at = time.monotonic()
    seeds = range(options.seed, options.seed + options.examples)
    count, seconds = 0, 0.0
    broken: frozenset[str] | set[str] = frozenset()
    with multiprocessing.Pool(min(os.cpu_count() or 1, len(seeds)), _prepare) as pool:
        for outcome in pool.imap(_run, seeds):
            count += 1
            seconds = time.monotonic() - began_at
            broken = outcome.kinds & set(options.kinds or outcome.kinds)
            if broken or seconds > options.seconds:
                break
            if count % 100 == 0:
                _say(f"{count} runs in {seconds:.0f} s")
    if not broken:
        _say(f"{count} of {options.examples} runs in {seconds:.0f} s: every promise was kept.")
        if count < options.examples:
            _say("The time was up; DURATION= allows for more.")
        return 0
    _say(f"Run {count} after {seconds:.0f} s broke a promise: {', '.join(sorted(outcome.kinds))}")
    _tell(outcome, options)
    return 1


def _tell(outcome: Outcome, options: argparse.Namespace) -> None:
    if options.kinds:
        outcome.findings.sort(key=lambda found: found[0] not in options.kinds)
    _say(f"\n{outcome}\n")
    if not options.no_shrinking:
        _say("The shortest history that fails in the same way is being looked for ...\n")
        _prepare()
        outcome = shrink(outcome, _images)
        _say(str(outcome))
    if options.log:
        _say("\n".join(outcome.log))
    _say(f"\nmake simulate SEED={outcome.setup.seed} EXAMPLES=1   # LOG=1 tells all that happened")


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
