"""The bench's command line. `make bench` runs it."""

import argparse
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from bench.databases import postgres_server
from bench.parts import (
    bodies,
    console,
    copies,
    day,
    detection,
    fairness,
    growth,
    http,
    peers,
    pipeline,
    repeats,
    start,
    webhooks,
)
from bench.place import Parts, Place
from bench.report import Comparison, head, save, show

PARTS: Parts = {
    "http": http.measure,
    "bodies": bodies.measure,
    "fairness": fairness.measure,
    "pipeline": pipeline.measure,
    "day": day.measure,
    "repeats": repeats.measure,
    "detection": detection.measure,
    "webhooks": webhooks.measure,
    "console": console.measure,
    "start": start.measure,
    "growth": growth.measure,
    "copies": copies.measure,
    "peers": peers.measure,
}


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="*", metavar="PART", help=", ".join(PARTS))
    parser.add_argument("--quick", action="store_true", help="shorter, and so less exact")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    options = parser.parse_args(argv)
    if unknown := set(options.parts) - set(PARTS):
        parser.error(f"there is no part {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
    found: list[Comparison] = []
    head()
    for name in options.parts or PARTS:
        found += run(name, quick=options.quick)
        if options.json is not None:
            save(options.json, found, quick=options.quick)
    return 0


def run(name: str, *, quick: bool) -> list[Comparison]:
    """Run one part with servers of its own, which end with it."""
    found = []
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
        place = Place(folder, stack.enter_context(postgres_server()), quick, stack)
        for comparison in PARTS[name](place):
            show(comparison)
            found.append(comparison)
    return found


if __name__ == "__main__":
    sys.exit(main())
