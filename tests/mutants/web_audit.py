"""Planted bugs in the audit."""

from tests.mutants.mutant import Mutant

_AUDIT = "tests/crm_api/test_audit.py"
_TOKENS = "tests/crm_api/test_tokens.py"

_INVENTORY = "tests/inventory_api/test_stock_audit.py"
_INTEGRATION = "tests/integration_service/operations/test_audit.py"

MUTANTS = [
    Mutant(
        name="entries of a caller are looked for on a connection for short reads",
        kind="condition",
        file="service_kit/web/audit.py",
        text="return self == Filter(subject=self.subject, ascending=self.ascending)",
        instead="return self == Filter(self.actor, subject=self.subject, ascending=self.ascending)",
        tests=(f"{_AUDIT}::test_what_no_index_finds_is_read_where_nobody_is_kept_waiting",),
    ),
    Mutant(
        name="an entry of the instant itself came after it",
        kind="boundary",
        file="service_kit/web/audit.py",
        text="columns.at > filters.created_after",
        instead="columns.at >= filters.created_after",
        tests=(f"{_AUDIT}::test_entries_are_found_by_who_what_on_what_and_when",),
    ),
    Mutant(
        name="a full page of entries does not look whether there is another",
        kind="boundary",
        file="service_kit/web/audit.py",
        text="after, limit + 1, ascending",
        instead="after, limit, ascending",
        tests=(f"{_AUDIT}::test_pages_lead_to_every_entry_once",),
    ),
    Mutant(
        name="a cursor of one order serves the other",
        kind="order",
        file="service_kit/web/audit.py",
        text='        order = "id" if filters.ascending else "-id"\n',
        instead='        order = "id"\n',
        tests=(f"{_AUDIT}::test_a_cursor_of_one_order_is_refused_by_the_other",),
    ),
    Mutant(
        name="newest first shows the oldest",
        kind="order",
        file="service_kit/web/audit.py",
        text="page_after(statement, columns.id, after, limit + 1, ascending=filters.ascending)",
        instead="page_after(statement, columns.id, after, limit + 1)",
        tests=(f"{_AUDIT}::test_entries_are_found_by_who_what_on_what_and_when",),
    ),
    Mutant(
        name="a filter by request shows the entries of all",
        kind="scope",
        file="service_kit/web/audit.py",
        text='("actor", "action", "subject", "request_id")',
        instead='("actor", "action", "subject")',
        tests=(f"{_AUDIT}::test_entries_are_found_by_who_what_on_what_and_when",),
    ),
    Mutant(
        name="an entry names the caller's role",
        kind="scope",
        file="service_kit/web/audit.py",
        text='"actor": by.name',
        instead='"actor": by.role',
        tests=(f"{_TOKENS}::test_a_token_may_do_what_its_role_may_and_its_name_is_written_down",),
    ),
    Mutant(
        name="of a batch the first alone leaves an entry",
        kind="dropped",
        file="service_kit/web/audit.py",
        text="            self._add.each(db, rows)\n",
        instead="            self._add.each(db, rows[:1])\n",
        tests=(f"{_AUDIT}::test_a_batch_leaves_an_entry_for_each_that_was_added_in_one_statement",),
    ),
    Mutant(
        name="the whole hash of a weak token stands in the audit",
        kind="condition",
        file="service_kit/web/audit.py",
        text='if actor_id.startswith("sha256:"):',
        instead='if actor_id.startswith("token:"):',
        tests=(f"{_AUDIT}::test_an_entry_says_which_caller_of_a_name_it_was_and_from_where",),
    ),
    Mutant(
        name="a look at a customer by the fast way is not audited",
        kind="dropped",
        file="crm_api/customers/router.py",
        text="""    found = await database_of(request).read(service.get, int(key))
    await audit_read(request, audit, "customer.read", found.uid)
""",
        instead="""    found = await database_of(request).read(service.get, int(key))
""",
        tests=(f"{_AUDIT}::test_reads_of_personal_data_are_audited_where_that_is_asked_for",),
    ),
    Mutant(
        name="pausing twice leaves two entries",
        kind="condition",
        file="integration_service/ledger/control.py",
        text="    if is_news:\n        audit.record(",
        instead="    if action:\n        audit.record(",
        tests=(f"{_INTEGRATION}::test_each_order_of_an_operator_leaves_an_entry_once",),
    ),
    Mutant(
        name="all packages of the integration stand in the audit",
        kind="scope",
        file="inventory_api/package_requests/service.py",
        text='if who.role != "integration":',
        instead='if who.role != "anonymous":',
        tests=(f"{_INVENTORY}::test_what_the_integration_requests_stands_in_its_deliveries",),
    ),
]
