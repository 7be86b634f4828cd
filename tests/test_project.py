"""The files around the code say what the code does."""

import re
import tomllib
from importlib import import_module
from pathlib import Path

import pytest

from service_kit import VERSION
from tests.conftest import ROOT, SERVICES
from tests.sweeps import sample

FENCE = re.compile(r"```sh\n(.*?)```", re.DOTALL)


def variables() -> set[str]:
    """Name every setting of every service."""
    return {
        name.upper()
        for service in SERVICES
        for name in import_module(f"{service}.settings").Settings.model_fields
    }


def test_the_example_environment_names_every_setting_and_no_other() -> None:
    text = (ROOT / ".env.example").read_text()

    assert set(re.findall(r"^#?([A-Z_]+)=", text, re.MULTILINE)) == variables()


def test_the_example_environment_shows_the_defaults() -> None:
    shown = dict(
        re.findall(r"^#([A-Z_]+)=(.+)$", (ROOT / ".env.example").read_text(), re.MULTILINE)
    )
    for service in SERVICES:
        settings = import_module(f"{service}.settings").Settings
        for name, field in settings.model_fields.items():
            value = shown.get(name.upper())
            if value is None or field.default in (None, ()) or name in {"port", "database_url"}:
                continue
            assert getattr(settings(**{name: value}), name) == field.default, name


def test_one_version_is_told_everywhere() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]

    assert project["version"] == VERSION
    assert f"## {VERSION}" in (ROOT / "CHANGELOG.md").read_text()


def test_make_lists_each_of_its_verbs() -> None:
    text = (ROOT / "Makefile").read_text()
    [verbs] = re.findall(r"^\.PHONY: (.*)$", text, re.MULTILINE)

    assert set(re.findall(r"^([a-z-]+):.*## ", text, re.MULTILINE)) == set(verbs.split())


@pytest.mark.parametrize("path", sorted(ROOT.glob("*.md")), ids=lambda path: path.name)
def test_links_between_documents_lead_somewhere(path: Path) -> None:
    for target in re.findall(r"\]\((?!https?://)([^)#]+)", path.read_text()):
        assert (ROOT / target).exists(), target


def test_every_make_verb_in_the_documents_exists() -> None:
    verbs = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for path in ROOT.glob("*.md"):
        for block in FENCE.findall(path.read_text()):
            for verb in re.findall(r"^make ([a-z-]+)", block, re.MULTILINE):
                assert verb in verbs, f"{path.name}: make {verb}"


def test_ci_tries_each_sweep_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    ran = (ROOT / ".ci" / "run").read_text().splitlines()
    makefile = (ROOT / "Makefile").read_text()
    recipe = re.search(
        r"^sweeps:.*\n\t(\w+)=(\w+) \$\(PYTEST\) -m (\w+) \$\(ARGS\)$", makefile, re.MULTILINE
    )

    assert "make sweeps" in ran
    assert recipe
    variable, value, marker = recipe.groups()
    assert list(sample(range(10), every=3, first=1)) == [1, 4, 7]
    monkeypatch.setenv(variable, value)
    assert list(sample(range(10), every=3, first=1)) == list(range(10))
    for path in (ROOT / "tests").rglob("test_*.py"):
        text = path.read_text()
        if path != Path(__file__) and re.search(r"from tests.sweeps import .*\bsample\b", text):
            assert f"@pytest.mark.{marker}\n" in text, path
