"""Planted bugs in items, their movements and kits."""

from tests.mutants.mutant import Mutant

_STOCK_ITEMS = "tests/inventory_api/test_stock_items.py"
_STOCK_KITS = "tests/inventory_api/test_stock_kits.py"
_STOCK_MOVEMENTS = "tests/inventory_api/test_stock_movements.py"

ITEMS = [
    Mutant(
        name="of several movements of an item the last alone counts",
        kind="condition",
        file="inventory_api/items/ledger.py",
        text="sums[one.item_id][1] += one.reserved_delta",
        instead="sums[one.item_id][1] = one.reserved_delta",
        tests=(f"{_STOCK_MOVEMENTS}::test_what_comes_in_is_given_out_oldest_first",),
    ),
    Mutant(
        name="an untracked item may have stock",
        kind="condition",
        file="inventory_api/items/schemas.py",
        text='if value and not info.data.get("tracked", True):',
        instead='if value < 0 and not info.data.get("tracked", True):',
        tests=(f"{_STOCK_ITEMS}::test_what_is_not_counted_has_no_number",),
    ),
    Mutant(
        name="what is so already is a change",
        kind="condition",
        file="inventory_api/items/service.py",
        text="""    values = {
        name: value for name, value in change.changes().items() if getattr(before, name) != value
    }
""",
        instead="    values = change.changes()\n",
        tests=(f"{_STOCK_ITEMS}::test_what_is_so_already_is_no_change",),
    ),
    Mutant(
        name="an item with just its reorder level is low",
        kind="boundary",
        file="inventory_api/items/store.py",
        text="available < items.c.reorder_level",
        instead="available <= items.c.reorder_level",
        tests=(f"{_STOCK_ITEMS}::test_an_item_is_low_when_fewer_are_available_than_its_level",),
    ),
    Mutant(
        name="a full page of a ledger does not look whether there is another",
        kind="boundary",
        file="inventory_api/items/store.py",
        text="movements.c.id, after, limit + 1, ascending=ascending)",
        instead="movements.c.id, after, limit, ascending=ascending)",
        tests=(f"{_STOCK_MOVEMENTS}::test_pages_of_a_ledger_hold_each_row_once_newest_last",),
    ),
    Mutant(
        name="a change is answered with what was there before",
        kind="order",
        file="inventory_api/items/service.py",
        text="""    if values:
        store.change(db, before.id, {**values, "updated_at": clock.now()})
        audit.record(db, "item.updated", sku, by=who)
    return get(db, sku)
""",
        instead="""    after = get(db, sku)
    if values:
        store.change(db, before.id, {**values, "updated_at": clock.now()})
        audit.record(db, "item.updated", sku, by=who)
    return after
""",
        tests=(f"{_STOCK_ITEMS}::test_what_is_sent_is_changed_and_nothing_else",),
    ),
    Mutant(
        name="an untracked item runs low",
        kind="scope",
        file="inventory_api/items/store.py",
        text="statement.where(items.c.tracked, available",
        instead="statement.where(available",
        tests=(f"{_STOCK_ITEMS}::test_an_item_is_low_when_fewer_are_available_than_its_level",),
    ),
    Mutant(
        name="an item's ledger shows the movements of all",
        kind="scope",
        file="inventory_api/items/store.py",
        text="""    statement = select(movements).where(movements.c.item_id == item_id)
    statement = page_after""",
        instead="""    statement = select(movements)
    statement = page_after""",
        tests=(f"{_STOCK_MOVEMENTS}::test_pages_of_a_ledger_hold_each_row_once_newest_last",),
    ),
    Mutant(
        name="an item is not locked for its change",
        kind="scope",
        file="inventory_api/items/service.py",
        text="before = get(db, sku, lock=True)",
        instead="before = get(db, sku)",
        tests=(f"{_STOCK_ITEMS}::test_who_waits_for_a_change_to_end_is_told_of_it",),
        engine="both",
    ),
    Mutant(
        name="what there is of a new item is not in the ledger",
        kind="dropped",
        file="inventory_api/items/service.py",
        text='[StockChange(added.id, new.on_hand, 0, "initial stock")], who.name)',
        instead="""[], who.name)
        store.change(db, added.id, {"on_hand": new.on_hand})""",
        tests=(f"{_STOCK_ITEMS}::test_a_new_item_has_its_stock_from_its_first_movement",),
    ),
    Mutant(
        name="moving stock keeps the version",
        kind="dropped",
        file="inventory_api/items/store.py",
        text="""        version=items.c.version + 1,
        updated_at=bindparam("at"),
""",
        instead='        updated_at=bindparam("at"),\n',
        tests=(f"{_STOCK_ITEMS}::test_moving_or_reserving_stock_makes_an_etag_stale",),
    ),
]

KITS = [
    Mutant(
        name="another quantity is no change of a kit",
        kind="condition",
        file="inventory_api/kits/service.py",
        text="{line.sku: line.quantity for line in there.lines} == quantities:",
        instead="{line.sku for line in there.lines} == set(quantities):",
        tests=(f"{_STOCK_KITS}::test_what_differs_is_the_next_version_and_what_does_not_is_none",),
    ),
    Mutant(
        name="a kit may name an item twice",
        kind="condition",
        file="inventory_api/kits/schemas.py",
        text="if len({line.sku for line in lines}) != len(lines):",
        instead="if len({line.sku for line in lines}) > len(lines):",
        tests=(f"{_STOCK_KITS}::test_a_kit_names_an_item_once",),
    ),
    Mutant(
        name="a full page of kits does not look whether there is another",
        kind="boundary",
        file="inventory_api/kits/store.py",
        text="page_after(_FIRST, kits.c.id, after, limit + 1)",
        instead="page_after(_FIRST, kits.c.id, after, limit)",
        tests=(f"{_STOCK_KITS}::test_pages_hold_every_kit_once_the_newest_type_last",),
    ),
    Mutant(
        name="a kit is listed where its newest version stands",
        kind="order",
        file="inventory_api/kits/service.py",
        text="rows = [kits_by_type[row.package_type] for row in first.rows]",
        instead="rows = sorted(kits_by_type.values(), key=lambda kit: kit.id)",
        tests=(f"{_STOCK_KITS}::test_pages_hold_every_kit_once_the_newest_type_last",),
    ),
    Mutant(
        name="a list of kits shows each version",
        kind="scope",
        file="inventory_api/kits/store.py",
        text="_FIRST = select(kits).where(kits.c.version == 1)",
        instead="_FIRST = select(kits)",
        tests=(f"{_STOCK_KITS}::test_pages_hold_every_kit_once_the_newest_type_last",),
    ),
    Mutant(
        name="versions that are made at once end in an error",
        kind="dropped",
        file="inventory_api/kits/service.py",
        text="""    except IntegrityError:
        raise KitChanged("Someone else has changed this kit just now. Try again.") from None
""",
        instead="""    except ZeroDivisionError:
        raise KitChanged("Someone else has changed this kit just now. Try again.") from None
""",
        tests=(f"{_STOCK_KITS}::test_versions_that_are_made_at_once_have_numbers_of_their_own",),
        engine="both",
    ),
]

MOVEMENTS = [
    Mutant(
        name="an untracked item has stock to move",
        kind="condition",
        file="inventory_api/movements/service.py",
        text="    if not item.tracked:\n",
        instead="    if not item.tracked and item.on_hand:\n",
        tests=(f"{_STOCK_MOVEMENTS}::test_an_untracked_item_has_no_stock_to_move",),
    ),
    Mutant(
        name="the last piece that is free can't be taken away",
        kind="boundary",
        file="inventory_api/movements/service.py",
        text="if level.on_hand + new.quantity < level.reserved:",
        instead="if level.on_hand + new.quantity <= level.reserved:",
        tests=(f"{_STOCK_MOVEMENTS}::test_stock_never_goes_below_what_is_reserved",),
    ),
    Mutant(
        name="a movement is answered with the reservation that it served",
        kind="order",
        file="inventory_api/movements/service.py",
        text="""    written = item_store.newest_movement(db, item.id)
    if new.quantity > 0:
        allocation.allocate(db, {item.id}, locked, who.name)
    return written
""",
        instead="""    if new.quantity > 0:
        allocation.allocate(db, {item.id}, locked, who.name)
    return item_store.newest_movement(db, item.id)
""",
        tests=(
            f"{_STOCK_MOVEMENTS}::test_the_ledger_says_for_whom_stock_was_reserved_and_by_whose_doing",
        ),
    ),
    Mutant(
        name="the level is read before the item is locked",
        kind="order",
        file="inventory_api/movements/service.py",
        text="    level = items.get(db, sku)\n",
        instead="    level = item\n",
        tests=(f"{_STOCK_MOVEMENTS}::test_of_takers_at_once_none_takes_what_another_has",),
        engine="both",
    ),
    Mutant(
        name="other items that a waiting kit wants are not locked",
        kind="scope",
        file="inventory_api/movements/service.py",
        text="    locked = allocation.lock_with_backorders(db, {item.id})\n",
        instead="    locked = set(item_store.lock(db, {item.id}))\n",
        tests=(f"{_STOCK_MOVEMENTS}::test_a_package_gets_all_it_needs_or_none_of_it",),
    ),
    Mutant(
        name="what comes in is given to nobody",
        kind="dropped",
        file="inventory_api/movements/service.py",
        text="        allocation.allocate(db, {item.id}, locked, who.name)\n",
        instead="        pass\n",
        tests=(f"{_STOCK_MOVEMENTS}::test_what_comes_in_is_given_out_oldest_first",),
    ),
]

MUTANTS = ITEMS + KITS + MOVEMENTS
