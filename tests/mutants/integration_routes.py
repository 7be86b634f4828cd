"""Planted bugs in the integration: what the file of routes says, and what is said of it."""

from tests.mutants.mutant import Mutant

_TESTS = "tests/integration_service/routes"
_DEFINITIONS = f"{_TESTS}/test_definitions.py"
_LINES = f"{_TESTS}/test_toml_lines.py"
_FILE = f"{_TESTS}/test_file.py"
_CHANGES = f"{_TESTS}/test_changes.py"
_SECRETS = "tests/integration_service/test_webhook_secrets.py"

MUTANTS = [
    Mutant(
        name="for a welcome that is 0 no package is made",
        kind="condition",
        file="integration_service/routes/definitions.py",
        text="isinstance(value, bool) is isinstance(wanted, bool) and bool(value == wanted)",
        instead="bool(value == wanted)",
        tests=(_DEFINITIONS,),
    ),
    Mutant(
        name="the feed is not asked for what undoes a delivery",
        kind="dropped",
        file="integration_service/routes/definitions.py",
        text="return (*INVENTORY_ON, CHANGED, *UNDO_ON)",
        instead="return (*INVENTORY_ON, CHANGED)",
        tests=(_DEFINITIONS,),
    ),
    Mutant(
        name="an erasure is held back by a condition on a field that it has not",
        kind="dropped",
        file="integration_service/routes/definitions.py",
        text='        if event.get("type") in UNDO_ON:\n            return False\n',
        instead="",
        tests=(f"{_DEFINITIONS}::test_no_condition_holds_an_erasure_back",),
    ),
    Mutant(
        name="a field that is null counts as present",
        kind="condition",
        file="integration_service/routes/definitions.py",
        text="(value is not None) is present",
        instead="(value is not ...) is present",
        tests=(_DEFINITIONS,),
    ),
    Mutant(
        name="an event with one of the fields that are wanted is enough",
        kind="scope",
        file="integration_service/routes/definitions.py",
        text="or not all(",
        instead="or not any(",
        tests=(f"{_DEFINITIONS}::test_an_event_needs_all_of_one_kind_and_none_of_the_other",),
    ),
    Mutant(
        name="a fifty-first route is accepted",
        kind="boundary",
        file="integration_service/routes/file.py",
        text="len(found) > MOST_ROUTES",
        instead="len(found) > MOST_ROUTES + 1",
        tests=(f"{_FILE}::test_a_file_holds_at_most_fifty_routes",),
    ),
    Mutant(
        name="a route may have the name of an earlier one but the first",
        kind="boundary",
        file="integration_service/routes/file.py",
        text="earlier = tables[:number]",
        instead="earlier = tables[1:number]",
        tests=(f"{_FILE}::test_a_mistake_names_its_line_its_key_and_the_way_out",),
    ),
    Mutant(
        name="mistakes are told in the order in which they were found",
        kind="order",
        file="integration_service/routes/file.py",
        text="sorted(place.mistakes, key=lambda mistake: mistake.line)",
        instead="place.mistakes",
        tests=(f"{_FILE}::test_all_mistakes_are_told_at_once_in_the_order_of_the_lines",),
    ),
    Mutant(
        name="what a mistake shows may go over several lines",
        kind="dropped",
        file="integration_service/routes/mistakes.py",
        text="return key if _BARE.fullmatch(key) else quoted(key)",
        instead="return key",
        tests=(f"{_FILE}::test_what_a_file_holds_stays_in_one_line_of_a_message",),
    ),
    Mutant(
        name="true is a position of the feed",
        kind="condition",
        file="integration_service/routes/fields.py",
        text="case int() if not isinstance(given, bool) and 0 <= given",
        instead="case int() if 0 <= given",
        tests=(f"{_FILE}::test_a_mistake_names_its_line_its_key_and_the_way_out",),
    ),
    Mutant(
        name="a user is looked for in the path and not in the authority alone",
        kind="scope",
        file="integration_service/routes/fields.py",
        text='if "@" in authority[1]:',
        instead='if "@" in url:',
        tests=(f"{_FILE}::test_an_address_may_have_a_port_a_path_and_a_query",),
    ),
    Mutant(
        name="the secret itself is taken for the name of one",
        kind="dropped",
        file="integration_service/routes/fields.py",
        text="isinstance(name, str) and _SECRET.fullmatch(name) for name in names",
        instead="isinstance(name, str) for name in names",
        tests=(f"{_FILE}::test_a_secret_itself_is_refused_and_not_shown",),
    ),
    Mutant(
        name="a text over several lines counts as one line",
        kind="dropped",
        file="integration_service/routes/toml_lines.py",
        text='line += found[0].count("\\n")',
        instead='line += found.lastgroup == "newline"',
        tests=(_LINES,),
    ),
    Mutant(
        name="single quotes are looked for before triple ones",
        kind="order",
        file="integration_service/routes/toml_lines.py",
        text="""        \\"{3} (?:\\\\.|[^\\\\])*? \\"{3,5}
      | '{3} .*? '{3,5}
      | "(?:\\\\.|[^"\\\\])*"
      | '[^']*'
""",
        instead="""        "(?:\\\\.|[^"\\\\])*"
      | '[^']*'
      | \\"{3} (?:\\\\.|[^\\\\])*? \\"{3,5}
      | '{3} .*? '{3,5}
""",
        tests=(_LINES,),
    ),
    Mutant(
        name="a header of a part of a route belongs to the first route",
        kind="boundary",
        file="integration_service/routes/toml_lines.py",
        text="path = (*path, tables[path] - 1)",
        instead="path = (*path, 0)",
        tests=(_LINES,),
    ),
    Mutant(
        name="the order of a route may change",
        kind="scope",
        file="integration_service/routes/changes.py",
        text='for key in ("target", "order", "package_type")',
        instead='for key in ("target", "package_type")',
        tests=(f"{_CHANGES}::test_each_change_that_may_not_be_is_told",),
    ),
    Mutant(
        name="an empty secret is a secret",
        kind="condition",
        file="integration_service/webhook_secrets.py",
        text='if value := environ.get(name, "").strip():',
        instead='if value := environ.get(name, ""):',
        tests=(f"{_SECRETS}::test_an_empty_secret_is_none",),
    ),
    Mutant(
        name="a file in /run/secrets goes before a variable",
        kind="order",
        file="integration_service/webhook_secrets.py",
        text="        return value\n    path = folder / name\n",
        instead="        pass\n    path = folder / name\n",
        tests=(f"{_SECRETS}::test_a_secret_is_a_variable_or_a_file_in_any_case",),
    ),
]
