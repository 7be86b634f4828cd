"""The bugs that a simulation must be able to find, each with the promise that it breaks.

Each takes back what keeps a promise. No step knows of any of them.
"""

from dataclasses import replace

from tests.chaos.planted import BUGS as CHAOS_BUGS
from tests.chaos.planted import Bug, bug
from tests.system.planting import Change

# A process's memory outlives its death here, and nobody counts descriptors.
BEYOND = {
    "Inventory remembers in memory whom it has served",
    "eight descriptors are kept for each answer",
}

SETTLED_BEFORE_SENT = [
    Change(
        "integration_service/deliveries/dispatch.py",
        """
            called = await self._call(ahead.batch, requests)
""",
        """
            soon = [Made(200, "soon") for _ in requests]
            soon_called = Called(soon, self._clock(), 0.0)
            ahead.settlements = self._delivered(ahead.batch, soon, soon_called)
            ahead.answered.set()
            called = await self._call(ahead.batch, requests)
""",
    ),
]
NO_BRAKE = [
    Change(
        "integration_service/reconcile/comparison.py",
        "if self._absent > by_itself and not self._is_confirmed:",
        "if self._absent > by_itself and not self._repairs:",
    ),
]
ANY_REFUSAL_IS_BELIEVED = [
    Change(
        "integration_service/targets/failures.py",
        "    return Misconfigured(error, status=status, problem=problem)\n\n\ndef _our_problem",
        "    return Refused(error, status=status, problem=problem)\n\n\ndef _our_problem",
    ),
]
PROBE_WAITS_FOR_THE_CLOCK = [
    Change(
        "integration_service/targets/circuit.py",
        "return now >= self.next_probe_at or now < self.failed_at",
        "return now >= self.next_probe_at",
    ),
]
COMPARISON_WAITS_FOR_THE_CLOCK = [
    Change(
        "integration_service/reconcile/store.py",
        "return 0.0 if passed < 0 else seconds - passed",
        "return seconds - passed",
    ),
]
DELIVERY_WAITS_FOR_THE_CLOCK = [
    Change(
        "integration_service/deliveries/dispatch.py",
        "if not await self._database.read(claims.has_future_dated, now):",
        "if await self._database.read(claims.has_future_dated, now) is not None:",
    ),
]
OWN_DOWNTIME_COUNTS = [
    Change(
        "integration_service/deliveries/retry_policy.py",
        """
        tried - tried_before >= GIVE_UP_SECONDS and delivery.attempt_count + 1 >= LEAST_ATTEMPTS
""",
        """
        (at - (delivery.first_failed_at or at)).total_seconds() >= GIVE_UP_SECONDS
""",
    ),
]
ERASED_ARE_SENT_ALL_THE_SAME = [
    Change(
        "integration_service/deliveries/erasures.py",
        """
    db.execute(_SKIP, {"uids": uids, "at": now})
    db.execute(_FORGET, {"uids": uids})
""",
        """
    db.execute(_FORGET.values(next_attempt_at=deliveries.c.next_attempt_at), {"uids": uids})
""",
    ),
]
INVENTORY_FORGETS_WHOM_IT_ERASED = [
    Change(
        "inventory_api/package_requests/service.py",
        "    erased = store.erased_among(db, {item.customer_id for item in new})\n",
        "    erased: set[str] = set()\n",
    ),
]
ERASURES_ARE_NOT_COMPARED = [
    Change(
        "integration_service/reconcile/store.py",
        'KINDS: tuple[Kind, ...] = ("missing", "extra", "double", "erased")',
        'KINDS: tuple[Kind, ...] = ("missing", "extra", "double")',
    ),
]

ORDER_LOST = [
    Change(
        "integration_service/deliveries/claims.py",
        "_TAKE_DUE_IN_TURN = _taking(_in_order(deliveries.c.id, _DUE, ~HAS_EARLIER))",
        "_TAKE_DUE_IN_TURN = _taking(_in_order(deliveries.c.id, _DUE))",
    ),
]
ONE_CIRCUIT_FOR_ALL_WEBHOOKS = [
    Change(
        "integration_service/poller/poller.py",
        """
        self.targets = open_targets(settings, routes, monotonic)
""",
        """
        self.targets = open_targets(settings, routes, monotonic)
        webhooks = list(self.targets.webhooks.values())
        for one in webhooks:
            one.circuit = webhooks[0].circuit
""",
    ),
]


def as_here(bug: Bug) -> Bug:
    """Call what it breaks by this judge's names; whom the campaign serves, it sends a package."""
    kinds = {"unwanted" if kind == "served" else kind for kind in bug.breaks}
    return replace(bug, breaks=frozenset(kinds))


BUGS: list[Bug] = [
    bug("what is sent ahead is noted as delivered before", SETTLED_BEFORE_SENT, "missing"),
    bug("a repair without a brake", NO_BRAKE, "flood"),
    bug("anybody's refusal is believed", ANY_REFUSAL_IS_BELIEVED, "dead"),
    bug("a probe waits for a clock that was set back", PROBE_WAITS_FOR_THE_CLOCK, "stuck"),
    bug("so does a comparison", COMPARISON_WAITS_FOR_THE_CLOCK, "stuck"),
    bug("so does a delivery", DELIVERY_WAITS_FOR_THE_CLOCK, "stuck"),
    bug("own downtime counts towards giving up", OWN_DOWNTIME_COUNTS, "dead"),
    bug(
        "an erased customer's package is sent, and Inventory has forgotten the erasure",
        [*ERASED_ARE_SENT_ALL_THE_SAME, *INVENTORY_FORGETS_WHOM_IT_ERASED],
        "unwanted",
    ),
    bug("Inventory forgets whom it erased", INVENTORY_FORGETS_WHOM_IT_ERASED, "unwanted"),
    bug("erasures are not compared", ERASURES_ARE_NOT_COMPARED, "unwanted", "remembered"),
    bug("a subject's events are sent out of turn", ORDER_LOST, "disordered"),
    bug("webhooks share a circuit", ONE_CIRCUIT_FOR_ALL_WEBHOOKS, "shared"),
    *(as_here(one) for one in CHAOS_BUGS if one.engine == "sqlite" and one.name not in BEYOND),
]
