"""Planted bugs in import and export."""

from tests.mutants.mutant import Mutant

_ADDRESSES = "tests/crm_api/test_customer_addresses.py"
_TRANSFER = "tests/crm_api/test_transfer.py"

MUTANTS = [
    Mutant(
        name="a second apostrophe is not kept",
        kind="condition",
        file="crm_api/transfer/table.py",
        text="""_FORMULA = re.compile(f"{_START}(?='*{_BEGINNING})")""",
        instead='_FORMULA = re.compile(f"{_START}(?={_BEGINNING})")',
        tests=(f"{_TRANSFER}::test_a_cell_is_read_as_it_was_written",),
    ),
    Mutant(
        name="erased customers are exported",
        kind="condition",
        file="crm_api/transfer/exporting.py",
        text="if one.erased_at is None]",
        instead="if one.id]",
        tests=(f"{_TRANSFER}::test_what_is_exported_can_be_imported_again",),
    ),
    Mutant(
        name="a dry run foresees updates where an address is taken",
        kind="condition",
        file="crm_api/transfer/importing.py",
        text="            if owner != one.external_ref:\n",
        instead="            if owner is None:\n",
        tests=(f"{_TRANSFER}::test_a_refusal_names_the_line_whose_address_is_anothers",),
    ),
    Mutant(
        name="columns that the file has not are emptied",
        kind="condition",
        file="crm_api/transfer/importing.py",
        text="for name in PLAIN if name in header}",
        instead="for name in PLAIN}",
        tests=(f"{_TRANSFER}::test_taking_a_file_in_again_changes_only_what_the_file_says",),
    ),
    Mutant(
        name="metadata that came meanwhile is left out in silence",
        kind="condition",
        file="crm_api/transfer/exporting.py",
        text="any(METADATA + key not in columns for key in customer.metadata)",
        instead="all(METADATA + key not in columns for key in customer.metadata)",
        tests=(f"{_TRANSFER}::test_what_is_exported_can_be_imported_again",),
    ),
    Mutant(
        name="the last customer is not exported",
        kind="boundary",
        file="crm_api/transfer/exporting.py",
        text="last is None or one.id <= last]",
        instead="last is None or one.id < last]",
        tests=(f"{_TRANSFER}::test_what_is_exported_can_be_imported_again",),
    ),
    Mutant(
        name="a line is numbered by where the one before ends",
        kind="boundary",
        file="crm_api/transfer/table.py",
        text="number = records.line_num + 1",
        instead="number = records.line_num",
        tests=(
            f"{_TRANSFER}::test_what_can_not_be_taken_is_told_by_line_and_field_and_never_by_value",
        ),
    ),
    Mutant(
        name="outcomes are counted in the order in which they were found",
        kind="order",
        file="crm_api/transfer/importing.py",
        text="return [outcomes[at] for at in range(len(new))]",
        instead="return list(outcomes.values())",
        tests=(f"{_TRANSFER}::test_a_refusal_names_the_line_whose_address_is_anothers",),
    ),
    Mutant(
        name="a repeat is looked for before apostrophes are taken away",
        kind="order",
        file="crm_api/transfer/repeats.py",
        text="table.value_of(cells[place])",
        instead="cells[place]",
        tests=(
            f"{_TRANSFER}::test_a_reference_or_an_address_that_stands_in_a_file_twice_is_nobodys",
        ),
    ),
    Mutant(
        name="metadata without a column is lost on import",
        kind="scope",
        file="crm_api/transfer/importing.py",
        text='values["metadata"] = {**kept, **new.metadata}',
        instead='values["metadata"] = new.metadata',
        tests=(f"{_TRANSFER}::test_taking_a_file_in_again_changes_only_what_the_file_says",),
    ),
    Mutant(
        name="an export can be read by everybody on the machine",
        kind="scope",
        file="crm_api/transfer/commands.py",
        text="0o600",
        instead="0o644",
        tests=(f"{_TRANSFER}::test_what_is_exported_can_be_imported_again",),
    ),
    Mutant(
        name="an address that is spelled in two ways is two addresses",
        kind="scope",
        file="crm_api/transfer/repeats.py",
        text='key = _email_key(value) if name == "email" else value',
        instead="key = value",
        tests=(
            f"{_TRANSFER}::test_a_reference_or_an_address_that_stands_in_a_file_twice_is_nobodys",
        ),
    ),
    Mutant(
        name="a file without an address empties it",
        kind="scope",
        file="crm_api/transfer/importing.py",
        text="    if not set(ADDRESS).isdisjoint(header):\n",
        instead="    if header:\n",
        tests=(f"{_ADDRESSES}::test_a_file_without_its_columns_leaves_an_address_alone",),
    ),
    Mutant(
        name="no welcome is not passed on",
        kind="dropped",
        file="crm_api/transfer/importing.py",
        text="added = service.register_all(db, [new[at] for at in missing], who, welcome=welcome)",
        instead="added = service.register_all(db, [new[at] for at in missing], who)",
        tests=(f"{_TRANSFER}::test_no_welcome_is_told_to_the_feed_and_to_who_asks_the_list",),
    ),
    Mutant(
        name="the audit does not know the request id of an import",
        kind="dropped",
        file="crm_api/transfer/commands.py",
        text="    use_request_id(run_id := new_request_id())\n",
        instead="    run_id = new_request_id()\n",
        tests=(f"{_TRANSFER}::test_each_line_becomes_a_customer",),
    ),
]
