"""Alerts, dashboard and the operator's page agree with one another and with the code."""

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import httpx
import promql_parser
import pytest
import yaml

from integration_service.app import create_app
from integration_service.reconcile.store import KINDS
from integration_service.settings import Settings
from tests.conftest import ROOT, NewDatabase, running

FOLDER = ROOT / "deploy" / "observability"
PAGE = (ROOT / "docs" / "operations.md").read_text()
RULES: list[dict[str, Any]] = yaml.safe_load((FOLDER / "alerts.yml").read_text())["groups"][0][
    "rules"
]
PANELS: list[dict[str, Any]] = json.loads((FOLDER / "dashboard.json").read_text())["panels"]
NAME = re.compile(r"\b(?:integration_[a-z_]+|http_[a-z_]+)\b(?!\")")
LABEL = re.compile(r"\b(state|outcome|target)=~?\"([^\"]+)\"")


def expressions() -> list[str]:
    targets = [target for panel in PANELS for target in panel["targets"]]
    return [rule["expr"] for rule in RULES] + [target["expr"] for target in targets]


def anchors() -> set[str]:
    headings = re.findall(r"^#+ (.+)$", PAGE, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", one).lower().replace(" ", "-") for one in headings}


@pytest.mark.engine("sqlite")
async def test_every_metric_and_label_they_name_is_there(
    new_database: NewDatabase, tmp_path: Path
) -> None:
    settings = Settings(
        database_url=new_database("integration_service"),
        crm_api_url="http://127.0.0.1:9",
        inventory_api_url="http://127.0.0.1:9",
    )
    async with running(create_app(settings)) as client:
        await client.get("/health")
        told = await _metrics(client)
    # There after the first comparison.
    told |= {f"integration_reconcile_{kind}" for kind in (*KINDS, "held_back")}
    used = {name for expression in expressions() for name in NAME.findall(expression)}

    assert used - {"integration_service"} <= told
    assert len(used) > 20


async def _metrics(client: httpx.AsyncClient) -> set[str]:
    text = (await client.get("/metrics")).text
    told = set(re.findall(r"^# TYPE (\w+) ", text, re.MULTILINE))
    told |= set(re.findall(r"^(\w+)[ {]", text, re.MULTILINE))
    for name, values in LABEL.findall("\n".join(expressions())):
        for value in values.split("|"):
            assert f'{name}="{value}"' in text
    return told


def test_expressions_can_be_read() -> None:
    for expression in expressions():
        promql_parser.parse(expression)


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not here")
def test_prometheus_takes_rules_and_configuration() -> None:
    for what, file in (("rules", "alerts.yml"), ("config", "prometheus.yml")):
        subprocess.run(["promtool", "check", what, FOLDER / file], check=True)  # noqa: S607


def test_each_alert_leads_to_what_to_do_about_it() -> None:
    for rule in RULES:
        page, anchor = rule["annotations"]["runbook"].split("#")
        assert (ROOT / page).exists()
        assert anchor in anchors(), rule["alert"]
    actions = PAGE.split("# What to do about", 1)[1]
    documented = set(re.findall(r"^## (\w+)$", actions, re.MULTILINE))
    assert documented == {rule["alert"] for rule in RULES}
    for anchor in re.findall(r"\]\(#([\w-]+)\)", PAGE):
        assert anchor in anchors(), anchor


def test_each_log_line_of_the_page_is_one_of_the_code() -> None:
    code = "\n".join(
        path.read_text()
        for name in ("crm_api", "inventory_api", "integration_service", "service_kit")
        for path in (ROOT / name).rglob("*.py")
    )
    code = re.sub(r"\"\s*\n\s*\"", "", code)  # a text over several lines
    lines = re.findall(r"^\| (?:WARNING|ERROR|CRITICAL) \| `([^`]+)`", PAGE, re.MULTILINE)

    assert len(lines) > 10
    for line in lines:
        for part in line.split("…"):
            words = part.strip(" :.;,")
            assert words in code, line
