"""Inventory can't be used for a while: nothing dies, and all is made up for without a restart."""

import signal

import pytest

from tests.system.processes import until
from tests.system.stack import Stack

# The circuit's first probe comes after five seconds, whatever the engine.
pytestmark = pytest.mark.engine("sqlite")

WRONG = "a-token-that-inventory-has-not-heard-of"


def circuit_is_open(stack: Stack) -> bool:
    rows = stack.integration.rows("SELECT opened_at FROM links WHERE target = 'inventory'")
    return rows != [(None,)]


def lines(stack: Stack, level: str) -> list[str]:
    logged = stack.integration.logged().splitlines()
    return [line for line in logged if line.startswith(f"{level}: Inventory")]


def test_while_inventory_is_down_nothing_dies_and_then_all_is_delivered(stack: Stack) -> None:
    stack.start()
    integration = stack.integration.pid
    stack.add_customers(1)
    stack.wait_until_quiet()
    stack.inventory.end(signal.SIGTERM)
    until(
        lambda: circuit_is_open(stack),
        "the circuit opens",
        meanwhile=lambda: stack.add_customers(1),
    )
    stack.add_customers(3)

    stack.inventory.restart()

    stack.wait_until_quiet()
    stack.check()
    assert not circuit_is_open(stack)
    assert (stack.integration.is_dead, stack.integration.pid) == (False, integration)
    assert len(lines(stack, "WARNING")) == 1


def test_a_wrong_token_is_told_once_and_costs_nobody_a_package(stack: Stack) -> None:
    stack.integration.environment["INVENTORY_API_TOKEN"] = WRONG
    stack.integration.constants["integration_service.targets.inventory:PROBE_SECONDS"] = 0.5
    stack.start()
    integration = stack.integration.pid
    stack.add_customers(3)
    until(lambda: circuit_is_open(stack), "the circuit opens")
    stack.add_customers(3)
    [told] = lines(stack, "ERROR")
    assert "INVENTORY_API_TOKEN" in told

    stack.inventory.end(signal.SIGTERM)
    stack.inventory.restart(API_TOKENS=f"integration:{WRONG}")

    stack.wait_until_quiet()
    stack.check()
    assert lines(stack, "ERROR") == [told]
    assert (stack.integration.is_dead, stack.integration.pid) == (False, integration)
    # What is an operator's mistake is not counted as a delivery's attempt.
    counts = stack.integration.rows("SELECT DISTINCT attempt_count FROM deliveries")
    assert counts == [(1,)]
    assert WRONG not in stack.integration.logged()
