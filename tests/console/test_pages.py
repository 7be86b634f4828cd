"""What every page has, and the files that came from elsewhere."""

import hashlib
import json
import re

import pytest

from console.app import _ROUTES
from console.menu import PLACES
from console.rendering import STATIC, ago, span
from console.site import DONE
from service_kit.process import clock
from service_kit.web.roles import ROLES
from tests.conftest import ROOT

CONSOLE = ROOT / "console"
TEMPLATES = sorted((CONSOLE / "templates").glob("*.html"))


def test_files_from_elsewhere_are_what_they_were() -> None:
    manifest = json.loads((STATIC / "manifest.json").read_text())

    for name, file in manifest.items():
        assert hashlib.sha256((STATIC / name).read_bytes()).hexdigest() == file["sha256"], name
    ours = {"console.css", "console.js", "manifest.json"}
    assert {path.name for path in STATIC.iterdir()} == set(manifest) | ours


def test_each_place_of_the_menu_is_a_page() -> None:
    pages = {route.path for route in _ROUTES if "GET" in (route.methods or ())}

    assert {place.path for place in PLACES} <= pages
    assert {place.needs for place in PLACES} <= ROLES["admin"]


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.name)
def test_no_template_switches_escaping_off(path) -> None:
    text = path.read_text()

    assert not re.search(r"\|\s*safe\b|autoescape|Markup", text)
    assert not re.search(r"\sstyle=|\son[a-z]+=|hx-on|js:", text)


def test_each_word_after_a_change_is_said_somewhere() -> None:
    code = "".join(path.read_text() for path in (CONSOLE / "pages").glob("*.py"))

    for word in DONE:
        assert f'"{word}"' in code, word
    assert set(re.findall(r'visit\.go\([^)]*, "([a-z-]+)"\)', code)) <= set(DONE)


@pytest.mark.parametrize(
    ("at", "said"),
    [
        ("2026-01-05T11:59:30Z", "just now"),
        ("2026-01-05T12:00:20Z", "in a moment"),
        ("2026-01-05T11:57:00Z", "3 min ago"),
        ("2026-01-05T10:00:00Z", "2 h ago"),
        ("2026-01-04T11:00:00Z", "1 day ago"),
        ("2026-01-02T12:00:00Z", "3 days ago"),
        ("2026-01-05T14:30:00Z", "in 2 h"),
        ("2025-11-28T12:00:00Z", "28 Nov 2025"),
    ],
)
def test_instants_are_said_as_people_say_them(at: str, said: str) -> None:
    assert ago(at, clock.from_epoch(1767614400)) == said  # noon of 5 January 2026


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(None, "-"), (59, "0:00"), (-2520, "0:42"), (72660, "20:11"), (90000, "1 day")],
)
def test_lengths_of_time_are_said_as_clocks_do(seconds: float | None, said: str) -> None:
    assert span(seconds) == said
