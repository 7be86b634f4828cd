"""Planted bugs in the CRM."""

from tests.mutants import crm_tickets
from tests.mutants.mutant import Mutant

_CUSTOMERS = "tests/crm_api/test_customers.py"
_LISTS = "tests/crm_api/test_customer_lists.py"
_CHANGES = "tests/crm_api/test_customer_changes.py"
_ERASURE = "tests/crm_api/test_erasure.py"
_CONCURRENCY = "tests/crm_api/test_feed_concurrency.py"
_PRUNING = "tests/crm_api/test_feed_pruning.py"

CUSTOMERS = [
    Mutant(
        name="the first page is read before the feed's cursor",
        kind="order",
        file="crm_api/customers/service.py",
        text="""    cursor, is_behind = feed.head_cursor(db)
    return cursor, page(db, wanted, None, limit), is_behind
""",
        instead="""    found = page(db, wanted, None, limit)
    cursor, is_behind = feed.head_cursor(db)
    return cursor, found, is_behind
""",
        tests=(_LISTS,),
    ),
    Mutant(
        name="an erased customer can be changed",
        kind="condition",
        file="crm_api/customers/service.py",
        text="""    if before.erased_at is not None:
        raise CustomerErased(""",
        instead="""    if before.erased_at is None and not before.version:
        raise CustomerErased(""",
        tests=(_ERASURE,),
    ),
    Mutant(
        name="a full page does not look whether there is another",
        kind="boundary",
        file="crm_api/customers/service.py",
        text="page_of(store.page(db, wanted, after, limit + 1, since), limit",
        instead="page_of(store.page(db, wanted, after, limit, since), limit",
        tests=(_LISTS,),
    ),
    Mutant(
        name="whose address it is is told to whoever may not read customers",
        kind="scope",
        file="crm_api/customers/service.py",
        text="""    if (owner := by_email.get(row.get("email_key", ""))) is not None:
        known = {"customer_id": owner} if who.may("customers:read") else {}
""",
        instead="""    if (owner := by_email.get(row.get("email_key", ""))) is not None:
        known = {"customer_id": owner}
""",
        tests=(_CUSTOMERS,),
    ),
    Mutant(
        name="a change leaves no event",
        kind="dropped",
        file="crm_api/customers/service.py",
        text="    record(db, events.CustomerUpdated(after), by=who)\n",
        instead="",
        tests=(_CHANGES,),
    ),
    Mutant(
        name="an erasure leaves past events as they were",
        kind="dropped",
        file="crm_api/customers/service.py",
        text="    feed.forget(db, before.uid, blank)\n",
        instead="",
        tests=(_ERASURE,),
    ),
]

FEED = [
    Mutant(
        name="what is pruned while a page is read is not noticed",
        kind="condition",
        file="crm_api/feed/service.py",
        text="""    if position < pruned:
        _refuse_expired(pruned)  # in""",
        instead="""    if position < 0:
        _refuse_expired(pruned)  # in""",
        tests=(_PRUNING, _CONCURRENCY),
    ),
    Mutant(
        name="a cursor exactly where events are pruned is refused",
        kind="boundary",
        file="crm_api/feed/service.py",
        text="""    if position < pruned:
        _refuse_expired(pruned)
""",
        instead="""    if position <= pruned:
        _refuse_expired(pruned)
""",
        tests=(_PRUNING,),
    ),
    Mutant(
        name="events are numbered against the order of their ids",
        kind="order",
        file="crm_api/feed/store.py",
        text="row_number() OVER (ORDER BY id)",
        instead="row_number() OVER (ORDER BY id DESC)",
        tests=("tests/crm_api/test_feed.py",),
    ),
    Mutant(
        name="a page of some types shows all types",
        kind="scope",
        file="crm_api/feed/store.py",
        text="""    if types:
        return _BETWEEN_OF_TYPES.all(""",
        instead="""    if types and limit < 0:
        return _BETWEEN_OF_TYPES.all(""",
        tests=("tests/crm_api/test_feed.py",),
    ),
    Mutant(
        name="the head of the feed does not move when events are numbered",
        kind="dropped",
        file="crm_api/feed/store.py",
        text="""        db.execute(_ADVANCE, {"count": count})
""",
        instead="""        pass
""",
        tests=("tests/crm_api/test_feed.py",),
    ),
    Mutant(
        name="what was pruned is not remembered",
        kind="dropped",
        file="crm_api/feed/store.py",
        text="""    db.execute(_TRACE, {"through": through})
""",
        instead="",
        tests=(_PRUNING, _LISTS),
    ),
]

MUTANTS = CUSTOMERS + FEED + crm_tickets.MUTANTS
