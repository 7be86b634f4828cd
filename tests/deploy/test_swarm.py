"""The stack for Docker Swarm: how it rolls to another version, and what it holds meanwhile."""

import hashlib
import re
from typing import Any

import pytest
import yaml

from tests.conftest import ROOT, SERVICES
from tests.deploy.manifests import settings
from tests.deploy.test_kubernetes import LEFT, LETS_IN, OF_A_MIGRATION

STACK = yaml.safe_load((ROOT / "deploy" / "swarm" / "stack.yml").read_text())
PORTS = yaml.safe_load((ROOT / "deploy" / "swarm" / "ports.yml").read_text())
OURS = {name: STACK["services"][name] for name in SERVICES}


def seconds(text: str) -> int:
    return int(text.removesuffix("s"))


@pytest.mark.parametrize("name", OURS)
def test_three_replicas_roll_one_by_one_and_back_where_one_fails(name: str) -> None:
    deploy = OURS[name]["deploy"]
    forth, back = deploy["update_config"], deploy["rollback_config"]

    assert deploy["replicas"] == 3
    for one in (forth, back):
        assert (one["parallelism"], one["order"]) == (1, "start-first")
        assert seconds(one["monitor"]) >= 20
        # When the next one starts, the one before has gone.
        assert seconds(one["delay"]) >= seconds(OURS[name]["stop_grace_period"])
    assert (forth["failure_action"], back["failure_action"]) == ("rollback", "pause")


def test_a_start_may_take_as_long_as_a_migration() -> None:
    """Swarm goes by the images' own health checks."""
    found = re.findall(r"HEALTHCHECK .*--start-period=(\S+)", (ROOT / "Dockerfile").read_text())

    assert found == ["15m"] * len(SERVICES)
    assert not any("healthcheck" in one for one in OURS.values())


def test_all_replicas_in_the_middle_of_a_release_leave_postgresql_some_connections() -> None:
    pools = {one["environment"]["DATABASE_POOL_SIZE"] for one in OURS.values()}
    [pool] = map(int, pools)
    # One that begins and one that ends.
    replicas = [one["deploy"]["replicas"] + 2 for one in OURS.values()]

    assert pools == {settings()["DATABASE_POOL_SIZE"]}
    held = sum(replicas) * pool + len(SERVICES) * OF_A_MIGRATION
    assert held + LEFT <= LETS_IN


def test_what_swarm_can_not_change_has_another_name_when_it_changes() -> None:
    script = (ROOT / "deploy" / "postgres" / "databases.sh").read_bytes()
    used = {secret["source"] for one in OURS.values() for secret in one["secrets"]}

    digest = hashlib.sha256(script).hexdigest()[:8]
    assert STACK["configs"]["databases"]["name"] == f"${{STACK:-crmsys}}_databases_{digest}"
    for name in used:
        assert STACK["secrets"][name]["name"] == f"${{STACK:-crmsys}}_{name}_${{SECRETS:-1}}"


def test_ports_are_for_callers_outside_and_need_an_address() -> None:
    told: dict[str, Any] = PORTS["services"]

    assert set(told) == set(SERVICES)
    for one in told.values():
        assert one["deploy"] == {"endpoint_mode": "vip"}
