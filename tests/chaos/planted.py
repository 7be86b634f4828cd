"""The bugs that a campaign must be able to find, each with what it is to find."""

from collections.abc import Sequence
from dataclasses import dataclass

from tests.system.planting import Change


@dataclass(frozen=True)
class Bug:
    """A change for the worse, and which promises it breaks."""

    name: str
    breaks: frozenset[str]
    changes: Sequence[Change]
    engine: str = "sqlite"
    pollers: int = 1

    @property
    def service(self) -> str:
        return self.changes[-1].file.partition("/")[0]


NO_CONSTRAINT = [
    Change(
        "inventory_api/migrations/0001_package_requests_and_stock.py",
        """
        sa.UniqueConstraint(
            "customer_id", "package_type", "occurrence", name="uq_package_requests_identity"
        ),
""",
        "\n",
    ),
]
KEYS_IN_MEMORY = [
    *NO_CONSTRAINT,
    Change(
        "inventory_api/package_requests/store.py",
        """
    _ADD.each(db, sorted(rows, key=identity), **same)
""",
        """
    new = [row for row in rows if identity(row) not in _SEEN]
    _SEEN.update(map(identity, new))
    if new:
        _ADD.each(db, sorted(new, key=identity), **same)

_SEEN = set()
""",
    ),
]
KEY_PER_ATTEMPT = [
    Change(
        "integration_service/targets/inventory.py",
        '"occurrence": request.occurrence,',
        '"occurrence": __import__("random").randrange(1, 1_000_000),',
    ),
]
ANY_SUCCESS_COUNTS = [
    Change(
        "integration_service/targets/http.py",
        "raise classify_unreadable(status, headers) from None",
        "return Answer(status, headers, None)",
    ),
    Change(
        "integration_service/targets/inventory.py",
        'raise Misconfigured("its answer is not one result an item", status=answer.status)',
        'return [Made(200, "taken-on-trust") for _ in requests]',
    ),
]
FEW_TRIES = [
    Change(
        "integration_service/deliveries/retry_policy.py",
        "if is_refused or is_hopeless:",
        "if is_refused or delivery.attempt_count >= 1:",
    ),
]
NOT_RESCUED = [
    Change(
        "integration_service/deliveries/claims.py",
        'deliveries.c.claimed_epoch != bindparam("epoch")',
        'deliveries.c.claimed_epoch == bindparam("epoch") + 1_000_000',
    ),
]
NO_SEQUENCER_LOCK = [
    Change("crm_api/feed/store.py", "        if not locked:", "        if locked is None:"),
]
TWO_POLLERS_AND_NO_CONSTRAINT = [
    *NO_CONSTRAINT,
    Change(
        "integration_service/ledger/lease.py",
        "    if _epoch(db) != lease.epoch:\n        raise LeaseLost",
        "    _epoch(db)",
    ),
    Change(
        "integration_service/ledger/lease.py",
        "        return None\n    lease = Lease(holder, epoch + 1)",
        "        pass\n    lease = Lease(holder, epoch + 1)",
    ),
    Change(
        "integration_service/feed/store.py",
        """
    .where(
        poller.c.cursor.is_not_distinct_from(bindparam("old")),
        poller.c.lease_epoch == bindparam("epoch"),
    )
""",
        """
    .where(
        __import__("sqlalchemy").or_(
            poller.c.id == 1,
            poller.c.cursor.is_not_distinct_from(bindparam("old")),
            poller.c.lease_epoch == bindparam("epoch"),
        )
    )
""",
    ),
]
NEVER_AN_HEIR = [
    Change(
        "integration_service/poller/poller.py",
        "await self._stopping.sleep(self._settings.lease_seconds / 3)",
        "await self._stopping.wait()",
    ),
]
ANSWER_NOT_STORED = [
    Change(
        "service_kit/web/idempotency.py",
        "            self.answers.keep(db, call, self.fingerprint, given)\n",
        "",
    ),
]
ERASURE_FORGOTTEN = [
    Change("integration_service/feed/store.py", "    erasures.note(db, erased, now)\n", ""),
]
ERASURE_ONLY_BLANKS = [
    Change(
        "inventory_api/package_requests/erasing.py",
        "    allocation.cancel(db, store.lock_live(db, [row.id for row in rows]), who.name)\n",
        "",
    ),
]
DESCRIPTORS_KEPT = [
    Change(
        "integration_service/targets/http.py",
        "self._pace.note(response.headers, length)",
        '[__import__("os").dup(2) for _ in range(8)]; self._pace.note(response.headers, length)',
    ),
]

UNDO_FORGOTTEN_WITHOUT_A_REQUEST = [
    Change(
        "inventory_api/package_requests/erasing.py",
        "    store.erase(db, customer_ids)\n",
        """
    made = [row.customer_id for row in rows]
    if made:
        store.erase(db, made)
""",
    ),
]
FAILURE_HOLDS_NOBODY = [
    Change(
        "integration_service/deliveries/held.py",
        "for state in HOLDING]),",
        "for state in HOLDING if state != 'retrying']),",
    ),
]
SIGNED_ANOTHER_BODY = [
    Change(
        "integration_service/targets/webhook.py",
        "sign(self._keys, message.webhook_id, timestamp, message.body)",
        "sign(self._keys, message.webhook_id, timestamp, message.body + b' ')",
    ),
]
CURSOR_OF_ANOTHER = [
    Change(
        "integration_service/feed/subscriptions.py",
        "owed = {name: self._owed(self._routes[name], page) for name in names}",
        "owed = {one: self._owed(self._routes[one], page) if one == names[0] else []"
        " for one in names}",
    ),
]


def bug(name: str, changes: Sequence[Change], *breaks: str, engine: str = "sqlite") -> Bug:
    return Bug(name, frozenset(breaks), changes, engine, 2 if engine == "postgresql" else 1)


BUGS = [
    bug("Inventory without its unique constraint", NO_CONSTRAINT, "double"),
    bug("Inventory remembers in memory whom it has served", KEYS_IN_MEMORY, "double"),
    bug("an identity made anew for each attempt", KEY_PER_ATTEMPT, "double"),
    bug("any 200 counts as success", ANY_SUCCESS_COUNTS, "missing"),
    bug("given up after two tries", FEW_TRIES, "dead", "missing"),
    bug("what a dead poller had claimed is not rescued", NOT_RESCUED, "stuck", "missing"),
    bug("the feed is numbered without a lock", NO_SEQUENCER_LOCK, "feed", engine="postgresql"),
    bug(
        "a lease that fences nothing, a cursor that is not compared, no unique constraint",
        TWO_POLLERS_AND_NO_CONSTRAINT,
        "double",
        engine="postgresql",
    ),
    bug(
        "a poller that finds another one polling stands still",
        NEVER_AN_HEIR,
        "stuck",
        engine="postgresql",
    ),
    bug("the answer to an Idempotency-Key is not stored", ANSWER_NOT_STORED, "unexpected"),
    bug("an erasure is read and not noted", ERASURE_FORGOTTEN, "remembered", "served"),
    bug("an erasure only blanks what is there", ERASURE_ONLY_BLANKS, "served"),
    bug(
        "an erasure that comes before its package request is lost",
        UNDO_FORGOTTEN_WITHOUT_A_REQUEST,
        "served",
    ),
    bug("a signature is of another body", SIGNED_ANOTHER_BODY, "forged"),
    bug("an event is sent past one that failed before", FAILURE_HOLDS_NOBODY, "disordered"),
    bug("a page of one route moves the cursor of another", CURSOR_OF_ANOTHER, "unheard"),
    bug("eight descriptors are kept for each answer", DESCRIPTORS_KEPT, "kept"),
]
