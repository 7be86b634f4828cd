"""In which line of a file a key is, whatever TOML allows around it."""

import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from integration_service.routes.toml_lines import line_of, line_of_error, lines_of

TRICKY = '''\
# [[route]] in a comment
title = """
[[route]]
name = "in a text" \\" """" # which ends here
[[route]]
name = 'one' # on = [
on = [ # ]
  "a", # "
  "b]",

]
unless = { "data.welcome" = false, b.c = [1,
2, {z = 3}] }
when."d\\u0061ta.x" = 1979-05-27 07:32:00
[route.send]
a.b = +1.5
other = \'\'\'
[[route]]
\'\'\'
 [[ route ]]
name = """"two"""""
'x.y'.z = []
'''


@pytest.mark.parametrize(
    ("path", "line"),
    [
        (("title",), 2),
        (("route", 0), 5),
        (("route", 0, "name"), 6),
        (("route", 0, "on"), 7),
        (("route", 0, "on", 0), 8),
        (("route", 0, "on", 1), 9),
        (("route", 0, "unless"), 12),
        (("route", 0, "unless", "data.welcome"), 12),
        (("route", 0, "unless", "b", "c", 1), 13),
        (("route", 0, "unless", "b", "c", 2, "z"), 13),
        (("route", 0, "when"), 14),
        (("route", 0, "when", "data.x"), 14),
        (("route", 0, "send"), 15),
        (("route", 0, "send", "a", "b"), 16),
        (("route", 0, "send", "other"), 17),
        (("route", 1), 20),
        (("route", 1, "name"), 21),
        (("route", 1, "x.y", "z"), 22),
        # What is not there: the line of what it belongs into.
        (("route", 1, "on"), 20),
        (("route", 0, "on", 7), 7),
        (("route", 2), 5),
        (("routes",), 1),
    ],
)
def test_a_key_is_found_among_comments_texts_and_brackets(path: tuple[str], line: int) -> None:
    assert "route" in tomllib.loads(TRICKY)

    assert line_of(lines_of(TRICKY), path) == line


def test_tables_of_one_list_may_be_inline() -> None:
    lines = lines_of("route = [\n  { name = 'a' },\n  { on = [ 'b' ] },\n]\n")

    assert line_of(lines, ("route", 1, "on", 0)) == 3


def test_windows_ends_of_lines_count_once() -> None:
    assert lines_of("a = 1\r\n\r\nb = 2\r\n") == {("a",): 1, ("b",): 3}


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("a = 1\nb = \nc = 3\n", 2),
        ("[[route]\n", 1),
        ("a = 1\na = 2\n", 2),
        ('a = 1\n\nb = """\nnever\nended', 5),
        ("a = 1\nb =", 2),
        ("a = [\n1,\n\n", 2),
    ],
)
def test_an_error_of_syntax_names_its_line(text: str, line: int) -> None:
    with pytest.raises(tomllib.TOMLDecodeError) as error:
        tomllib.loads(text)

    assert line_of_error(text, str(error.value)) == line


_values = st.sampled_from(
    ["1", "-1.5e3", "1979-05-27T07:32:00Z", "'#['", '"]\\""', '"""\n] #\n"""', "'''\n[[x]]\n'''"]
)
_spaces = st.sampled_from(["", " ", "\t"])
_gaps = st.sampled_from(["", "\n", " # [ \" '''\n", "\n\n"])


@given(st.lists(st.tuples(_spaces, _gaps, _values, st.booleans()), min_size=1, max_size=8))
def test_each_key_is_found_where_it_was_written(
    written: list[tuple[str, str, str, bool]],
) -> None:
    text, places = "", {}
    for number, (space, gap, value, is_listed) in enumerate(written):
        text += f"{gap}{space}[[route]]\n{gap}"
        places["route", number, "key"] = text.count("\n") + 1
        text += f"key{space}={space}"
        if is_listed:
            text += f"[{gap}"
            places["route", number, "key", 0] = text.count("\n") + 1
            text += f"{value}{space},{gap}"
            places["route", number, "key", 1] = text.count("\n") + 1
        end = f"{gap}]" if is_listed else ""
        text += f"{value}{end}{space}# {value.splitlines()[0]}\n"
    tomllib.loads(text)

    lines = lines_of(text)

    assert {path: lines[path] for path in places} == places
