"""What a request costs with a million rows, against the same with a thousand."""

from collections.abc import Iterator

from bench.databases import ENGINES
from bench.loading import Request, put_load
from bench.place import TOKEN, Place
from bench.report import Comparison, compare

FEW, MANY = 1_000, 1_000_000
GOAL = 1.3
SORTED = ("customers", "tickets")


def measure(place: Place) -> Iterator[Comparison]:
    many = 100_000 if place.quick else MANY
    for engine in ENGINES:
        crms = {rows: place.crm(engine, rows) for rows in (FEW, many)}
        for what, paths in requests(many).items():
            times: dict[int, list[float]] = {FEW: [], many: []}
            for _ in range(place.rounds):
                for rows, path in zip(times, paths, strict=True):
                    load = put_load(crms[rows], [Request("GET", path, TOKEN)], 1, place.seconds / 2)
                    assert not load.failed, path
                    times[rows].append(load.p50 * 1000)
            yield compare(
                "growth",
                f"{what}, {engine}, {many} rows",
                f"{FEW} rows",
                "ms",
                times[many],
                times[FEW],
                goal=GOAL,
                less_is_better=True,
            )


def requests(many: int) -> dict[str, tuple[str, str]]:
    """Name each request, and its path with few rows and with many: in the middle of either."""
    found = {}
    for name in SORTED:
        found[f"{name}, get"] = at(f"/api/{name}/{{middle}}", many)
        found[f"{name}, first page"] = at(f"/api/{name}", many)
        found[f"{name}, newest"] = at(f"/api/{name}?sort=-id", many)
    found["events, first page"] = at("/api/events", many)
    found["customers, by address"] = at("/api/customers?email=customer{middle}@example.com", many)
    found["customers, search for an address"] = at("/api/customers?q=customer{middle}@", many)
    found["customers, search for what all have"] = at("/api/customers?q=example.com", many)
    found["customers, search for what nobody has"] = at("/api/customers?q=zzyzx", many)
    return found


def at(path: str, many: int) -> tuple[str, str]:
    few, large = (path.replace("{middle}", str(rows // 2)) for rows in (FEW, many))
    return few, large
