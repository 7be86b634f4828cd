"""Values that are safe to keep: what a field takes and what it refuses."""

from datetime import UTC, datetime

import pytest
from pydantic import TypeAdapter, ValidationError

from service_kit.web import fields
from service_kit.web.fields import DistinctName, Instant, Line, Text

INSTANT = TypeAdapter(Instant)


@pytest.mark.parametrize(
    "text",
    [
        *("2026-01-05T12:00:00Z", "2026-01-05t13:00:00.000+01:00", "2026-01-05 12:00:00z"),
        "2026-01-05T13:00:00.000000000+01:00",
    ],
)
def test_an_instant_is_kept_in_utc(text: str) -> None:
    assert INSTANT.validate_python(text) == datetime(2026, 1, 5, 12, tzinfo=UTC)
    assert INSTANT.validate_python(text).tzinfo is UTC


@pytest.mark.parametrize(
    "value",
    [
        *("0", "0.5", 0, 1767614400, "1767614400", "2026-01-05", "2026-01-05T12:00:00", "", None),
        f"2026-01-05T12:00:00.{'0' * 15}Z",
    ],
)
def test_what_is_no_instant_of_rfc_3339_is_refused(value: object) -> None:
    with pytest.raises(ValidationError):
        INSTANT.validate_python(value)


# A zero-width space, a mark of direction, a filler, a blank in Braille, an accent alone.
@pytest.mark.parametrize("kind", [Line, Text])
@pytest.mark.parametrize(
    "text",
    [
        *("\u200b", "\u200d\u200e", "\u3164\u3164", "\u2800", "\u0301", "\u00ad \u2060", "\ufeff"),
        "\u202e\u202c",
        "\u2066\u2069",
        "\u061c",
        "\ufe0f",
        "\u180e",
        "\u17b4",
        "\u034f",
        *("\U0001d159", "\U000e0041", "\U000e0fff", "\u2065", "\ufff5", "\U000e0100", "\u206a"),
    ],
)
def test_a_text_that_shows_nothing_is_refused(kind: object, text: str) -> None:
    with pytest.raises(ValidationError, match="visible"):
        TypeAdapter(kind).validate_python(text)


@pytest.mark.parametrize("kind", [Line, Text])
@pytest.mark.parametrize(
    "text",
    [
        "",
        ".",
        "\u200bJane",
        "e\u0301",
        "👩‍🚀",
        "\u0628\u0650",
        "\u0915\u094d\u200d\u0937",
        "\U0003ffff",
        "-",
    ],
)
def test_a_text_that_shows_something_is_taken_as_it_is(kind: object, text: str) -> None:
    assert TypeAdapter(kind).validate_python(text) == text


@pytest.mark.parametrize("kind", [Line, Text])
def test_no_more_of_a_text_is_looked_at_than_one_may_have(
    kind: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = 0
    plain = fields._is_visible

    def counted(character: str) -> bool:
        nonlocal looks
        looks += 1
        return plain(character)

    monkeypatch.setattr(fields, "_is_visible", counted)

    with pytest.raises(ValidationError, match="visible"):
        TypeAdapter(kind).validate_python("\u200b" * 300_000)

    assert looks == fields.LONGEST


@pytest.mark.parametrize(
    "name",
    [
        "web-shop",
        "Müller & Söhne (2)",
        "Ελένη",
        "Мария",
        "שרה 1",
        "倉庫の係",
        "カート",
        "東京ビル々ー",
        *("김 사무실 金", "महेश", "1-2-3", "🛒 shop", "ﾃｽﾄ", "Đặng", "naïve"),
    ],
)
def test_a_name_of_one_script_is_taken(name: str) -> None:
    assert TypeAdapter(DistinctName).validate_python(name) == name


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("\u0430dmin", "letters of one script"),  # a Cyrillic a
        ("web-sh\u03bfp", "letters of one script"),  # a Greek omicron
        ("web-sh\uff4fp", "letters of one script"),  # a full-width o
        ("\U0001d41deb", "letters of one script"),  # a mathematical d
        ("ra\u0578", "letters of one script"),  # an Armenian vo
        ("web\u200bshop", "invisible"),
        ("web\u202eshop", "invisible"),
        ("web\u00adshop", "invisible"),
    ],
)
def test_a_name_that_can_look_like_another_is_refused(name: str, says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        TypeAdapter(DistinctName).validate_python(name)


def test_a_very_long_name_is_refused_unread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fields, "_script_of", None)

    with pytest.raises(ValidationError, match="at most"):
        TypeAdapter(DistinctName).validate_python("a" * 300_000)
