"""What a log line looks like, and what never stands in one."""

import json
import logging
import re
from collections.abc import Iterator
from typing import Any

import pytest
import uvicorn
from hypothesis import given, settings
from hypothesis import strategies as st

from service_kit.process import logs

INSTANT = r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"
LIBRARIES = ("uvicorn", "uvicorn.error", "httpx", "httpcore", "alembic")
TOUCHED = ("root", "uvicorn.access", *LIBRARIES)
CONTROL = [*range(0x09), *range(0x0A, 0x20), *range(0x7F, 0xA0), 0x2028, 0x2029]

logger = logging.getLogger("boxes.shelf")

Captured = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def _as_it_was() -> Iterator[None]:
    """Give pytest its own handlers and levels back."""
    loggers = [logging.getLogger(name) for name in (*TOUCHED, "asyncio")]
    before = [(one, one.handlers[:], one.level, one.propagate) for one in loggers]
    logs.use_request_id("")
    yield
    logs.use_request_id("")
    for one, handlers, level, propagate in before:
        one.handlers[:] = handlers
        one.setLevel(level)
        one.propagate = propagate


def break_down(reason: str) -> None:
    def fall() -> None:
        raise RuntimeError(reason)

    try:
        fall()
    except RuntimeError:
        logger.exception("A box fell.")


def text_line(capsys: Captured, message: str, **fields: Any) -> str:
    logs.configure("INFO", "text")
    logger.info(message, extra=fields)
    return capsys.readouterr().err


def json_line(capsys: Captured, message: str, **fields: Any) -> dict[str, Any]:
    logs.configure("INFO", "json")
    logger.info(message, extra=fields)
    [line] = capsys.readouterr().err.splitlines()
    found: dict[str, Any] = json.loads(line)
    return found


def test_a_line_of_text_starts_with_what_happened(capsys: Captured) -> None:
    assert re.fullmatch(rf"INFO: Moved box 41 \[{INSTANT}\]\n", text_line(capsys, "Moved box 41"))


def test_a_line_of_text_ends_with_its_fields_and_request(capsys: Captured) -> None:
    logs.use_request_id("abc-1")

    line = text_line(capsys, "Moved", shelf=3)

    assert re.fullmatch(rf"INFO: Moved \[{INSTANT} shelf=3 request_id=abc-1\]\n", line)


def test_a_line_of_json_has_a_key_for_everything(capsys: Captured) -> None:
    logs.use_request_id("abc-1")

    line = json_line(capsys, "Moved", shelf=3)

    assert re.fullmatch(INSTANT, line.pop("time"))
    assert line == {
        "level": "INFO",
        "logger": "boxes.shelf",
        "message": "Moved",
        "shelf": "3",
        "request_id": "abc-1",
    }


def test_outside_a_request_there_is_no_request_id(capsys: Captured) -> None:
    assert "request_id" not in json_line(capsys, "Started")


def test_a_line_may_name_another_request(capsys: Captured) -> None:
    logs.use_request_id("mine")

    assert json_line(capsys, "Cut", request_id="theirs")["request_id"] == "theirs"


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("for jane.doe+shop@mail.example.com.", "for [e-mail]"),
        ("<jane@example.com>", "<[e-mail]>"),
        ("a@b.example,c@d.example", "[e-mail],[e-mail]"),
        ("ärger@münchen.example", "[e-mail]"),
        ("{'email': 'jane@example.com'}", "{'email': '[e-mail]'}"),
        ("Authorization: Bearer s3cret", "Authorization: Bearer [token]"),
        ("authorization=bearer  s3cret, x", "authorization=Bearer [token] x"),
        ("'BEARER s3cret-._~+/='", "'Bearer [token]"),
        ("meet @ noon", "meet @ noon"),
    ],
)
def test_addresses_and_tokens_are_taken_out(capsys: Captured, given: str, shown: str) -> None:
    assert text_line(capsys, given).startswith(f"INFO: {shown} [")
    assert json_line(capsys, given)["message"] == shown
    assert f"note={shown}]" in text_line(capsys, "Moved", note=given)
    assert json_line(capsys, "Moved", note=given)["note"] == shown


@settings(deadline=None)
@given(st.text("ab@ .,bearBEAR\t\n", max_size=60))
def test_what_is_taken_out_is_what_the_plain_patterns_say(text: str) -> None:
    address = r"[^\s@<>\"'(),:;]+@[^\s@<>\"'(),:;]+"
    expected = re.sub(r"(?i)\bbearer\s+\S+", "Bearer [token]", re.sub(address, "[e-mail]", text))

    assert logs.clean(text) == expected.replace("\n", "\\x0a")


@pytest.mark.parametrize("text", ["a" * 32_000, "jane@example.com " * 2000, "a" * 8193])
def test_what_is_very_long_is_cut_before_it_is_cleaned(capsys: Captured, text: str) -> None:
    shown = json_line(capsys, text, note=text)
    logs.configure("INFO", "text")
    break_down(text)
    longest = max(capsys.readouterr().err.splitlines(), key=len)

    for line in (shown["message"], shown["note"], longest):
        assert line.endswith(" … (cut)")
        assert len(line) < logs.LONGEST + 50
        assert "jane@" not in line


@pytest.mark.parametrize("code", CONTROL, ids=hex)
def test_what_could_forge_a_line_is_written_out(capsys: Captured, code: int) -> None:
    given, shown = f"a{chr(code)}b", f"a\\x{code:02x}b"

    assert text_line(capsys, given, note=given).count("\n") == 1
    assert text_line(capsys, given, note=given).count(shown) == 2
    assert json_line(capsys, given, note=given)["message"] == shown
    assert json_line(capsys, given, note=given)["note"] == shown


def test_a_traceback_stands_below_its_line(capsys: Captured) -> None:
    logs.configure("INFO", "text")

    break_down("because")

    first, *trace = capsys.readouterr().err.splitlines()
    assert first.startswith("ERROR: A box fell. [")
    assert trace[0] == "    Traceback (most recent call last):"
    assert trace[-1] == "    RuntimeError: because"
    assert all(line.startswith("    ") for line in trace)


def test_a_traceback_stands_in_its_line_of_json(capsys: Captured) -> None:
    logs.configure("INFO", "json")

    break_down("because")

    [line] = capsys.readouterr().err.splitlines()
    trace = json.loads(line)["traceback"].splitlines()
    assert (trace[0], trace[-1]) == (
        "Traceback (most recent call last):",
        "RuntimeError: because",
    )


@pytest.mark.parametrize("style", ["text", "json"])
def test_a_traceback_tells_no_secret_and_forges_no_line(capsys: Captured, style: str) -> None:
    logs.configure("INFO", style)

    break_down("jane@example.com sent Bearer s3cret\x1b[2J\nINFO: All is well")

    written = capsys.readouterr().err
    assert "RuntimeError: [e-mail] sent Bearer [token]" in written
    assert "\x1b" not in written
    assert not any(line.startswith("INFO") for line in written.splitlines())


@pytest.mark.parametrize(
    ("level", "shown"), [("DEBUG", 3), ("INFO", 2), ("WARNING", 1), ("CRITICAL", 0)]
)
def test_the_level_says_what_is_written(capsys: Captured, level: str, shown: int) -> None:
    logs.configure(level, "text")

    logger.debug("Looked")
    logger.info("Moved")
    logger.warning("Fell")

    assert len(capsys.readouterr().err.splitlines()) == shown


def test_libraries_speak_when_something_is_wrong(capsys: Captured) -> None:
    logs.configure("INFO", "text")

    for name in LIBRARIES:
        logging.getLogger(name).info("about myself")
        logging.getLogger(name).warning("%s is worried", name)

    lines = capsys.readouterr().err.splitlines()
    assert [line.split(" [")[0] for line in lines] == [
        f"WARNING: {name} is worried" for name in LIBRARIES
    ]


def test_no_line_is_made_for_each_request() -> None:
    """It is made wherever uvicorn's logger for them has a handler, of whatever level."""
    uvicorn.Config("nothing:app", access_log=False, log_config=None)
    logs.configure("INFO", "text")

    assert not logging.getLogger("uvicorn.access").hasHandlers()


def test_configuring_twice_writes_each_line_once(capsys: Captured) -> None:
    logs.configure("INFO", "text")

    assert len(text_line(capsys, "Moved").splitlines()) == 1
