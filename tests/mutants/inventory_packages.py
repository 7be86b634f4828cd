"""Planted bugs in package requests."""

from tests.mutants.mutant import Mutant

_ADDRESSES = "tests/inventory_api/test_package_addresses.py"
_PACKAGE_LISTS = "tests/inventory_api/test_package_lists.py"
_PACKAGE_REQUESTS = "tests/inventory_api/test_package_requests.py"
_STOCK_ERASURE = "tests/inventory_api/test_stock_erasure.py"
_STOCK_MOVEMENTS = "tests/inventory_api/test_stock_movements.py"
_STOCK_MOVES = "tests/inventory_api/test_stock_moves.py"
_STOCK_RACES = "tests/inventory_api/test_stock_races.py"

MUTANTS = [
    Mutant(
        name="a package is made though its customer was erased",
        kind="condition",
        file="inventory_api/package_requests/service.py",
        text="""    kept = [item for item in new if item.customer_id not in erased]
    made = iter(_request_kept(db, kept, who) if kept else ())
""",
        instead="    made = iter(_request_kept(db, new, who))\n",
        tests=(
            f"{_STOCK_ERASURE}::test_a_later_request_for_an_erased_customer_is_refused_for_ever",
        ),
    ),
    Mutant(
        name="who waits for more than came keeps the others waiting",
        kind="condition",
        file="inventory_api/package_requests/allocation.py",
        text="""            continue
        served""",
        instead="""            break
        served""",
        tests=(
            f"{_STOCK_MOVEMENTS}::test_who_waits_for_more_than_came_does_not_keep_others_waiting",
        ),
    ),
    Mutant(
        name="cancelling frees what is in a box",
        kind="condition",
        file="inventory_api/package_requests/allocation.py",
        text='for row in rows if row.status != "packed"]',
        instead='for row in rows if row.status != "shipped"]',
        tests=(f"{_STOCK_MOVES}::test_a_move_is_made_once_or_refused_with_what_is_allowed",),
    ),
    Mutant(
        name="of what is returned one piece comes back",
        kind="condition",
        file="inventory_api/package_requests/allocation.py",
        text='StockChange(line.item_id, line.quantity, 0, "returned", row.request_id)',
        instead='StockChange(line.item_id, 1, 0, "returned", row.request_id)',
        tests=(f"{_STOCK_MOVES}::test_a_whole_life_is_in_the_ledger_with_whoever_made_each_move",),
    ),
    Mutant(
        name="a repetition with another note is answered as the first",
        kind="condition",
        file="inventory_api/package_requests/service.py",
        text="if value is not None and value != getattr(there, name):",
        instead="if value is not None and not getattr(there, name):",
        tests=(
            f"{_PACKAGE_REQUESTS}::test_other_content_conflicts_and_names_the_request_that_is_there",
        ),
    ),
    Mutant(
        name="a customer is named twice where it was sent twice",
        kind="condition",
        file="inventory_api/package_requests/erasing.py",
        text="for one in dict.fromkeys(customer_ids) if",
        instead="for one in customer_ids if",
        tests=(f"{_STOCK_ERASURE}::test_a_customer_who_is_named_twice_is_erased_once",),
    ),
    Mutant(
        name="a queue that is longer than one page is not served to its end",
        kind="boundary",
        file="inventory_api/package_requests/allocation.py",
        text="        if len(rows) < AT_ONCE:\n",
        instead="        if len(rows) <= AT_ONCE:\n",
        tests=(f"{_STOCK_MOVEMENTS}::test_a_long_queue_is_served_to_its_end",),
    ),
    Mutant(
        name="the last piece of an item is never reserved",
        kind="boundary",
        file="inventory_api/package_requests/allocation.py",
        text="if any(available[line.item_id] < line.quantity for line in lines):",
        instead="if any(available[line.item_id] <= line.quantity for line in lines):",
        tests=(f"{_STOCK_MOVEMENTS}::test_stock_never_goes_below_what_is_reserved",),
    ),
    Mutant(
        name="a request made at the instant itself was made after it",
        kind="boundary",
        file="inventory_api/package_requests/store.py",
        text="package_requests.c.created_at > filters.created_after",
        instead="package_requests.c.created_at >= filters.created_after",
        tests=(f"{_PACKAGE_LISTS}::test_filters_leave_what_they_name_newest_last",),
    ),
    Mutant(
        name="an older change of address replaces a newer one",
        kind="order",
        file="inventory_api/package_requests/destinations.py",
        text="change.as_of >= row.ship_to_as_of",
        instead="change.as_of != row.ship_to_as_of",
        tests=(f"{_ADDRESSES}::test_in_whatever_order_changes_come_the_newest_stays",),
    ),
    Mutant(
        name="an address changes after it was packed",
        kind="scope",
        file="inventory_api/package_requests/store.py",
        text='package_requests.c.status == "backordered"),\n',
        instead='package_requests.c.status == "packed"),\n',
        tests=(f"{_ADDRESSES}::test_a_new_address_reaches_all_that_is_not_packed",),
    ),
    Mutant(
        name="of one batch the last gets stock first",
        kind="order",
        file="inventory_api/package_requests/service.py",
        text="""key=attrgetter("id")
    )""",
        instead="""key=attrgetter("id"), reverse=True
    )""",
        tests=(f"{_STOCK_MOVEMENTS}::test_what_comes_in_is_given_out_oldest_first",),
    ),
    Mutant(
        name="a version is compared before the request is locked",
        kind="order",
        file="inventory_api/package_requests/moves.py",
        text="        check_version(versions, row.version)\n",
        instead="        check_version(versions, seen[0].version)\n",
        tests=(f"{_STOCK_MOVES}::test_of_many_moves_of_one_version_at_once_one_is_made",),
        engine="both",
    ),
    Mutant(
        name="stock is given out before an erasure frees any",
        kind="order",
        file="inventory_api/package_requests/erasing.py",
        text="""    allocation.cancel(db, store.lock_live(db, [row.id for row in rows]), who.name)
    store.erase(db, customer_ids)
    allocation.allocate(db, concerned, locked, who.name)
""",
        instead="""    allocation.allocate(db, concerned, locked, who.name)
    allocation.cancel(db, store.lock_live(db, [row.id for row in rows]), who.name)
    store.erase(db, customer_ids)
""",
        tests=(
            f"{_STOCK_ERASURE}::test_what_was_promised_goes_to_whoever_waits_in_the_same_moment",
        ),
    ),
    Mutant(
        name="who has waited least is served first",
        kind="order",
        file="inventory_api/package_requests/store.py",
        text="""    .order_by(package_requests.c.id)
    .limit(bindparam("limit"))
""",
        instead="""    .order_by(package_requests.c.id.desc())
    .limit(bindparam("limit"))
""",
        tests=(f"{_STOCK_MOVEMENTS}::test_what_comes_in_is_given_out_oldest_first",),
    ),
    Mutant(
        name="what is returned is given to nobody",
        kind="scope",
        file="inventory_api/package_requests/moves.py",
        text='_FREEING: frozenset[Status] = frozenset({"cancelled", "returned"})',
        instead='_FREEING: frozenset[Status] = frozenset({"cancelled"})',
        tests=(f"{_STOCK_MOVEMENTS}::test_what_is_freed_goes_to_whoever_has_waited_longest",),
    ),
    Mutant(
        name="what an older version had blanked is shipped",
        kind="scope",
        file="inventory_api/package_requests/store.py",
        text="        or_(package_requests.c.erased_at.is_(None), _IS_LIVE),\n",
        instead="        package_requests.c.erased_at.is_(None),\n",
        tests=(f"{_STOCK_ERASURE}::test_what_an_older_version_had_only_blanked_is_cancelled_now",),
    ),
    Mutant(
        name="a dry run names customers that are settled",
        kind="scope",
        file="inventory_api/package_requests/erasing.py",
        text="settled = store.erased_among(db, customer_ids) - {",
        instead="settled = set[str]() - {",
        tests=(f"{_STOCK_ERASURE}::test_a_dry_run_tells_what_is_to_do_and_does_nothing",),
    ),
    Mutant(
        name="batch answers are tied to no customer",
        kind="scope",
        file="inventory_api/package_requests/router.py",
        text="one.view.row.customer_id for one in done]\n",
        instead="None for one in done]\n",
        tests=(f"{_STOCK_ERASURE}::test_in_a_batch_the_others_are_answered_as_before",),
    ),
    Mutant(
        name="an erasure does not lock what it cancels",
        kind="scope",
        file="inventory_api/package_requests/store.py",
        text="""    .order_by(package_requests.c.id)
    .with_for_update()
)
_ERASE""",
        instead="""    .order_by(package_requests.c.id)
)
_ERASE""",
        tests=(f"{_STOCK_RACES}::test_an_erasure_cancels_nothing_that_is_shipped_meanwhile",),
        engine="both",
    ),
    Mutant(
        name="what a move frees is given to nobody",
        kind="dropped",
        file="inventory_api/package_requests/moves.py",
        text="        allocation.allocate(db, concerned, locked, who.name)\n",
        instead="        pass\n",
        tests=(f"{_STOCK_MOVEMENTS}::test_what_is_freed_goes_to_whoever_has_waited_longest",),
    ),
    Mutant(
        name="an erasure leaves stored answers",
        kind="dropped",
        file="inventory_api/package_requests/store.py",
        text="    stored_answers.forget(db, customer_ids)\n",
        instead="",
        tests=(
            f"{_STOCK_ERASURE}::test_what_was_answered_to_a_key_is_forgotten_too_and_no_other_answer_is",
        ),
    ),
    Mutant(
        name="an erasure keeps the version",
        kind="dropped",
        file="inventory_api/package_requests/store.py",
        text="""        updated_at=bindparam("at"),
        version=package_requests.c.version + 1,
    )
)
_COUNTS""",
        instead="""        updated_at=bindparam("at"),
    )
)
_COUNTS""",
        tests=(f"{_STOCK_ERASURE}::test_a_reader_is_told_that_what_it_has_kept_was_erased",),
    ),
    Mutant(
        name="an erasure does not wait for who makes a package",
        kind="dropped",
        file="inventory_api/package_requests/erasing.py",
        text="    store.close_to_new(db)\n",
        instead="",
        tests=(f"{_STOCK_RACES}::test_nobody_has_a_package_who_is_erased_while_it_is_requested",),
        engine="both",
    ),
]
