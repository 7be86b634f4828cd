"""Planted bugs in the check that a change of events breaks nobody who reads them."""

from tests.mutants.mutant import Mutant

_CHECK = "tools/check_events.py"
_EVENTS = "tests/contracts/test_events.py"
_REFUSED = (f"{_EVENTS}::test_what_breaks_a_reader_is_refused_in_words",)
_LET_THROUGH = (f"{_EVENTS}::test_what_breaks_no_reader_is_let_through",)
_PAST = (f"{_EVENTS}::test_what_is_untrue_of_past_events_is_refused_in_words",)

MUTANTS = [
    Mutant(
        name="fewer values are a breach, and more are none",
        kind="condition",
        file=_CHECK,
        text="[value for value in are if value not in allowed]",
        instead="[value for value in allowed if value not in are]",
        tests=(*_REFUSED, *_PAST),
    ),
    Mutant(
        name="null does not count as another type",
        kind="condition",
        file=_CHECK,
        text="return allowed in {None, kind} or",
        instead='return allowed in {None, kind} or kind == "null" or',
        tests=_REFUSED,
    ),
    Mutant(
        name="a limit may grow by one",
        kind="boundary",
        file=_CHECK,
        text="(found > limit) ==",
        instead="(found > limit + 1) ==",
        tests=_REFUSED,
    ),
    Mutant(
        name="versions are sorted as texts",
        kind="order",
        file=_CHECK,
        text='key=lambda path: [int(part) for part in path.stem.split(".")]',
        instead="key=lambda path: path.stem",
        tests=(f"{_EVENTS}::test_the_last_release_is_the_newest_one",),
    ),
    Mutant(
        name="a release is stored before it is checked",
        kind="order",
        file=_CHECK,
        text="    for breach in found:\n        print(",
        instead="""    if is_release:
        (RELEASES / f"{VERSION}.json").write_text(json.dumps(present, indent=2) + "\\n")
    for breach in found:
        print(""",
        tests=(f"{_EVENTS}::test_the_command_says_what_breaks_and_stores_nothing",),
    ),
    Mutant(
        name="the present schemas are read with the released parts",
        kind="scope",
        file=_CHECK,
        text="for choice in _choices(sent, self.parts_sent):",
        instead="for choice in _choices(sent, self.parts_promised):",
        tests=_REFUSED,
    ),
    Mutant(
        name="the items of a list are not looked at",
        kind="dropped",
        file=_CHECK,
        text='        if "items" in promised:\n',
        instead='        if "items" in promised and False:\n',
        tests=_REFUSED,
    ),
    Mutant(
        name="what was always there may be left out",
        kind="dropped",
        file=_CHECK,
        text='elif name in promised.get("required", ()) and',
        instead="elif False and",
        tests=_REFUSED,
    ),
    Mutant(
        name="a new field may be required",
        kind="condition",
        file=_CHECK,
        text='elif name in promised.get("required", ()) and',
        instead='elif name in members and name in promised.get("required", ()) and',
        tests=_PAST,
    ),
    Mutant(
        name="a new field is a breach, since past events lack it",
        kind="scope",
        file=_CHECK,
        text="if name not in members and self.words.gone:",
        instead="if name not in members:",
        tests=_LET_THROUGH,
    ),
]
