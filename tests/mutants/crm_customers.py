"""Planted bugs in customers."""

from tests.mutants.mutant import Mutant

_ADDRESSES = "tests/crm_api/test_addresses.py"
_CUSTOMERS = "tests/crm_api/test_customers.py"
_CUSTOMERS_BY_REF = "tests/crm_api/test_customers_by_ref.py"
_CUSTOMER_BATCHES = "tests/crm_api/test_customer_batches.py"
_CUSTOMER_CHANGES = "tests/crm_api/test_customer_changes.py"
_CUSTOMER_LISTS = "tests/crm_api/test_customer_lists.py"
_ERASURE = "tests/crm_api/test_erasure.py"
_IDEMPOTENCY_KEYS = "tests/crm_api/test_idempotency_keys.py"
_SEARCH = "tests/crm_api/test_search.py"

MUTANTS = [
    Mutant(
        name="an erased customer can be changed",
        kind="condition",
        file="crm_api/customers/service.py",
        text="""    if before.erased_at is not None:
        raise CustomerErased(""",
        instead="""    if before.erased_at is None and not before.version:
        raise CustomerErased(""",
        tests=(f"{_ERASURE}::test_an_erased_customer_can_not_be_changed",),
    ),
    Mutant(
        name="metadata can be emptied with null",
        kind="condition",
        file="crm_api/customers/schemas.py",
        text='@field_validator("name", "email", "metadata")',
        instead='@field_validator("name", "email")',
        tests=(f"{_CUSTOMER_CHANGES}::test_a_change_that_does_not_fit_changes_nothing",),
    ),
    Mutant(
        name="fields that are not sent by reference stay as they were",
        kind="condition",
        file="crm_api/customers/service.py",
        text="values: dict[str, Any] = new.model_dump()",
        instead="values: dict[str, Any] = new.model_dump(exclude_unset=True)",
        tests=(
            f"{_CUSTOMERS_BY_REF}::test_who_is_not_there_is_created_and_who_is_there_becomes_as_sent",
        ),
    ),
    Mutant(
        name="a full page does not look whether there is another",
        kind="boundary",
        file="crm_api/customers/store.py",
        text="rows = _JSON_PAGES.page(db, after, limit + 1,",
        instead="rows = _JSON_PAGES.page(db, after, limit,",
        tests=(f"{_CUSTOMER_LISTS}::test_next_links_lead_through_all_pages",),
    ),
    Mutant(
        name="a part of an address that is too long passes for plain",
        kind="boundary",
        file="crm_api/customers/addresses.py",
        text="_LONGEST_PLAIN = 63",
        instead="_LONGEST_PLAIN = 128",
        tests=(f"{_ADDRESSES}::test_which_addresses_are_plain",),
    ),
    Mutant(
        name="a customer created at the instant itself is created after it",
        kind="boundary",
        file="crm_api/customers/store.py",
        text="customers.c.created_at > filters.created_after",
        instead="customers.c.created_at >= filters.created_after",
        tests=(f"{_CUSTOMER_LISTS}::test_both_ends_of_a_time_span_are_outside_it",),
    ),
    Mutant(
        name="an id of nineteen digits is asked of the database",
        kind="boundary",
        file="crm_api/customers/router.py",
        text="{1,18}",
        instead="{1,19}",
        tests=(f"{_CUSTOMERS}::test_an_unknown_customer_is_not_found",),
    ),
    Mutant(
        name="the first page is read before the feed's cursor",
        kind="order",
        file="crm_api/customers/service.py",
        text="""    cursor, is_behind = feed.head_cursor(db)
    return cursor, page(db, filters, None, limit), is_behind
""",
        instead="""    found = page(db, filters, None, limit)
    cursor, is_behind = feed.head_cursor(db)
    return cursor, found, is_behind
""",
        tests=(
            f"{_CUSTOMER_LISTS}::test_whoever_comes_while_the_first_page_is_read_is_on_it_or_behind_its_cursor",
        ),
    ),
    Mutant(
        name="the first page's cursor stands before what is not numbered",
        kind="condition",
        file="crm_api/customers/service.py",
        text="    if is_behind:\n",
        instead="    if is_behind and False:\n",
        tests=(f"{_CUSTOMER_LISTS}::test_a_full_disk_keeps_nobody_from_reading_customers",),
    ),
    Mutant(
        name="a batch adds customers in its own order",
        kind="order",
        file="crm_api/customers/registration.py",
        text='sorted(rows, key=itemgetter("email_key"))',
        instead="rows",
        tests=(
            f"{_CUSTOMER_BATCHES}::test_a_batch_holds_no_address_while_it_waits_for_an_earlier_one",
        ),
        engine="both",
    ),
    Mutant(
        name="refused items of a batch are given each other's reasons",
        kind="order",
        file="crm_api/customers/service.py",
        text="""refused = [row for row in rows if row["uid"] not in added]
    problems = iter(_conflicts(db, refused, who))""",
        instead="""refused = [row for row in rows if row["uid"] not in added]
    problems = reversed(_conflicts(db, refused, who))""",
        tests=(f"{_CUSTOMER_BATCHES}::test_each_item_is_answered_in_its_place",),
    ),
    Mutant(
        name="whose address it is is told to whoever may not read customers",
        kind="scope",
        file="crm_api/customers/service.py",
        text="""    if (owner := by_email.get(row.get("email_key", ""))) is not None:
        extra = {"customer_id": owner} if who.may("customers:read") else {}
""",
        instead="""    if (owner := by_email.get(row.get("email_key", ""))) is not None:
        extra = {"customer_id": owner}
""",
        tests=(
            f"{_CUSTOMERS}::test_who_may_not_read_customers_does_not_learn_whose_an_address_is",
        ),
    ),
    Mutant(
        name="a changed company is not found by the search",
        kind="scope",
        file="crm_api/customers/store.py",
        text="    if not values.keys().isdisjoint(SEARCHED):\n",
        instead='    if "name" in values or "email" in values:\n',
        tests=(f"{_SEARCH}::test_search_follows_every_way_of_changing_a_customer",),
    ),
    Mutant(
        name="a batch's stored answer is not tied to its customers",
        kind="scope",
        file="crm_api/customers/router.py",
        text="Answer(200, body, item_subjects=uids)",
        instead="Answer(200, body)",
        tests=(f"{_IDEMPOTENCY_KEYS}::test_in_a_batch_only_the_erased_one_is_gone",),
    ),
    Mutant(
        name="a filter by place in the feed is read like a short one",
        kind="condition",
        file="crm_api/customers/store.py",
        text="return self.q is not None or self.since is not None",
        instead="return self.q is not None",
        tests=(
            f"{_CUSTOMER_LISTS}::test_what_costs_more_in_a_long_table_is_read_where_nobody_is_kept_waiting",
        ),
    ),
    Mutant(
        name="a customer is not locked for its change",
        kind="scope",
        file="crm_api/customers/store.py",
        text='return find_one(Customer, db, _BY_ID.with_for_update(), {"id": key})',
        instead='return find_one(Customer, db, _BY_ID, {"id": key})',
        tests=(f"{_CUSTOMER_CHANGES}::test_of_many_who_change_one_version_at_once_one_does",),
        engine="both",
    ),
    Mutant(
        name="a refused change spoils its whole transaction",
        kind="scope",
        file="crm_api/customers/service.py",
        text="""        with db.begin_nested():
            after""",
        instead="""        if True:
            after""",
        tests=(f"{_CUSTOMER_CHANGES}::test_a_reference_of_another_is_refused",),
        engine="both",
    ),
    Mutant(
        name="a change leaves no event",
        kind="dropped",
        file="crm_api/customers/service.py",
        text="    record(db, events.CustomerUpdated(after), by=who)\n",
        instead="",
        tests=(f"{_CUSTOMER_CHANGES}::test_all_fields_change_at_once_in_one_event",),
    ),
    Mutant(
        name="a changed address is not the one that is compared",
        kind="dropped",
        file="crm_api/customers/service.py",
        text='        values["email_key"] = key\n',
        instead="        pass\n",
        tests=(f"{_CUSTOMER_CHANGES}::test_an_address_is_free_again_once_it_was_changed",),
    ),
    Mutant(
        name="the first page keeps a cursor that is behind",
        kind="dropped",
        file="crm_api/customers/service.py",
        text="        cursor, found, _ = await run(first_page, filters, limit)\n",
        instead="",
        tests=(
            f"{_CUSTOMER_LISTS}::test_whoever_was_committed_before_the_first_page_stands_before_its_cursor",
        ),
    ),
    Mutant(
        name="an erasure keeps the time of the change before",
        kind="dropped",
        file="crm_api/customers/service.py",
        text='"erased_at": now, "updated_at": now}',
        instead='"erased_at": now}',
        tests=(f"{_ERASURE}::test_erasing_blanks_every_personal_field_and_keeps_the_ids",),
    ),
    Mutant(
        name="an erasure leaves past events as they were",
        kind="dropped",
        file="crm_api/customers/service.py",
        text="    feed.forget(db, before.uid, blank)\n",
        instead="",
        tests=(f"{_ERASURE}::test_the_feed_tells_of_the_erasure_and_no_longer_who_it_was",),
    ),
    Mutant(
        name="If-Match on a reference that nobody has creates a customer",
        kind="dropped",
        file="crm_api/customers/router.py",
        text='must_exist="if-match" in request.headers',
        instead="must_exist=False",
        tests=(f"{_CUSTOMERS_BY_REF}::test_if_match_guards_against_overwriting",),
    ),
]
