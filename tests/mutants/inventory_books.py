"""Planted bugs in the books and in the pick list."""

from tests.mutants.mutant import Mutant

_PICK_LIST = "tests/inventory_api/test_pick_list.py"
_STOCK_BOOKS = "tests/inventory_api/test_stock_books.py"
_STOCK_ERASURE = "tests/inventory_api/test_stock_erasure.py"
_STOCK_RACES = "tests/inventory_api/test_stock_races.py"

BOOKS = [
    Mutant(
        name="the books forget boxes that are to be emptied",
        kind="condition",
        file="inventory_api/books/store.py",
        text='"packed")), package_requests.c.to_unpack',
        instead='"packed")), package_requests.c.id < 0',
        tests=(f"{_STOCK_ERASURE}::test_the_reservation_of_a_box_is_missed_and_made_good",),
    ),
    Mutant(
        name="a repair leaves fewer than are promised",
        kind="condition",
        file="inventory_api/books/service.py",
        text="on_hand = max(row.ledger_on_hand, row.promised)",
        instead="on_hand = row.ledger_on_hand",
        tests=(f"{_STOCK_BOOKS}::test_damage_is_named_and_repaired_with_rows_in_the_ledger",),
    ),
    Mutant(
        name="an item with just its reorder level is in the stats",
        kind="boundary",
        file="inventory_api/books/store.py",
        text="items.c.on_hand - items.c.reserved < items.c.reorder_level",
        instead="items.c.on_hand - items.c.reserved <= items.c.reorder_level",
        tests=(f"{_STOCK_BOOKS}::test_stats_count_packages_by_status_and_name_what_runs_low",),
    ),
    Mutant(
        name="stock is given out before levels are right",
        kind="order",
        file="inventory_api/books/service.py",
        text="""        for row in wrong:
            _repair(db, row, who.name)
        ids = {row.id for row in wrong}
        allocation.allocate(db, ids, allocation.lock_with_backorders(db, ids), who.name)
""",
        instead="""        ids = {row.id for row in wrong}
        allocation.allocate(db, ids, allocation.lock_with_backorders(db, ids), who.name)
        for row in wrong:
            _repair(db, row, who.name)
""",
        tests=(f"{_STOCK_BOOKS}::test_damage_is_named_and_repaired_with_rows_in_the_ledger",),
    ),
    Mutant(
        name="books are compared before the items are locked",
        kind="order",
        file="inventory_api/books/service.py",
        text="""    items.lock(db, [row.id for row in store.compare(db)])
    wrong = [row for row in store.compare(db) if any(_differences(row))]
""",
        instead="""    rows = store.compare(db)
    items.lock(db, [row.id for row in rows])
    wrong = [row for row in rows if any(_differences(row))]
""",
        tests=(f"{_STOCK_RACES}::test_a_repair_waits_for_who_is_at_work_and_counts_it_in",),
        engine="both",
    ),
    Mutant(
        name="a repair reserves untracked items",
        kind="scope",
        file="inventory_api/books/store.py",
        text=".where(_PROMISED_TO, items.c.tracked),",
        instead=".where(_PROMISED_TO),",
        tests=(f"{_STOCK_BOOKS}::test_a_repair_reserves_nothing_of_what_is_not_counted",),
    ),
    Mutant(
        name="a reservation of another quantity is good",
        kind="scope",
        file="inventory_api/books/store.py",
        text="            kit_lines.c.quantity == reservations.c.quantity,\n",
        instead="",
        tests=(f"{_STOCK_BOOKS}::test_damage_is_named_and_repaired_with_rows_in_the_ledger",),
    ),
    Mutant(
        name="a repair leaves no row in the ledger",
        kind="dropped",
        file="inventory_api/books/service.py",
        text="        items.move(db, [correction], [])\n",
        instead="        pass\n",
        tests=(f"{_STOCK_BOOKS}::test_damage_is_named_and_repaired_with_rows_in_the_ledger",),
    ),
    Mutant(
        name="a repair does not renew the reservations",
        kind="dropped",
        file="inventory_api/books/service.py",
        text="        store.renew_reservations(db)\n",
        instead="",
        tests=(f"{_STOCK_BOOKS}::test_a_repaired_package_can_be_shipped_and_another_cancelled",),
    ),
]

PICK_LIST = [
    Mutant(
        name="what waits for stock is picked",
        kind="condition",
        file="inventory_api/pick_list/store.py",
        text='_IS_PENDING = package_requests.c.status == "pending"',
        instead='_IS_PENDING = package_requests.c.status.in_(("pending", "backordered"))',
        tests=(f"{_PICK_LIST}::test_it_sums_up_what_pending_packages_need",),
    ),
    Mutant(
        name="the list of boxes has one fewer than it may",
        kind="boundary",
        file="inventory_api/pick_list/store.py",
        text=".limit(MOST_TO_UNPACK)",
        instead=".limit(MOST_TO_UNPACK - 1)",
        tests=(f"{_PICK_LIST}::test_it_names_the_oldest_500_boxes",),
    ),
    Mutant(
        name="items to pick come in the order in which they were added",
        kind="order",
        file="inventory_api/pick_list/store.py",
        text=".order_by(items.c.sku)",
        instead=".order_by(items.c.id)",
        tests=(f"{_PICK_LIST}::test_it_sums_up_what_pending_packages_need",),
    ),
    Mutant(
        name="the newest boxes come first",
        kind="order",
        file="inventory_api/pick_list/store.py",
        text=".order_by(package_requests.c.id)",
        instead=".order_by(package_requests.c.id.desc())",
        tests=(f"{_PICK_LIST}::test_it_names_the_oldest_500_boxes",),
    ),
    Mutant(
        name="what is packed is picked again",
        kind="scope",
        file="inventory_api/pick_list/store.py",
        text='_IS_PENDING = package_requests.c.status == "pending"',
        instead='_IS_PENDING = package_requests.c.status.in_(("pending", "packed"))',
        tests=(f"{_PICK_LIST}::test_it_sums_up_what_pending_packages_need",),
    ),
    Mutant(
        name="untracked items are not picked",
        kind="scope",
        file="inventory_api/pick_list/store.py",
        text="    .join(_BY_KIT, _BY_KIT.c.kit_id == kit_lines.c.kit_id)\n",
        instead="""    .join(_BY_KIT, _BY_KIT.c.kit_id == kit_lines.c.kit_id)
    .where(items.c.tracked)
""",
        tests=(f"{_PICK_LIST}::test_it_sums_up_what_pending_packages_need",),
    ),
    Mutant(
        name="a kit counts once however many packages want it",
        kind="dropped",
        file="inventory_api/pick_list/store.py",
        text="func.sum(kit_lines.c.quantity * _BY_KIT.c.packages)",
        instead="func.sum(kit_lines.c.quantity)",
        tests=(f"{_PICK_LIST}::test_it_sums_up_what_pending_packages_need",),
    ),
]

MUTANTS = BOOKS + PICK_LIST
