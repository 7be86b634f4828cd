"""A primary of PostgreSQL dies under load, and its standby takes over."""

import signal
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest

from service_kit.database.hosts import split
from tests.conftest import NewDatabase, bearer, run_sql
from tests.machines.cluster import Cluster
from tests.machines.conftest import StartCluster
from tests.machines.load import CLIENTS, Load
from tests.system.database_proxy import proxied
from tests.system.processes import Nursery, until
from tests.system.stack import Stack

pytestmark = [pytest.mark.engine("postgresql"), pytest.mark.timeout(600)]

CUSTOMERS, BATCH = 3_000, 25
AGAIN_SECONDS = 30.0


class Link:
    """How the services reach the primary: by an address that moves, or by one of each server."""

    def __init__(self, cluster: Cluster, exits: ExitStack) -> None:
        self._cluster = cluster
        self._moving, self.to_primary, self._to_standby = [
            exits.enter_context(proxied(machine.url))
            for machine in (cluster.primary, cluster.primary, cluster.standby)
        ]

    def new_database(self, service: str) -> str:
        """Return the URL of a new database, at the address that moves."""
        run_sql(self._cluster.primary.url, f"CREATE DATABASE {service}")
        return self._moving.url(f"postgresql:///{service}")

    def with_both_hosts(self, url: str) -> str:
        parts = split(url)
        hosts = (
            f"127.0.0.1:{one.server_address[1]}" for one in (self.to_primary, self._to_standby)
        )
        return parts.with_hosts(*hosts)

    def promote(self) -> None:
        self._cluster.standby.promote()
        self._moving.path = self._to_standby.path


@pytest.mark.parametrize("way", ["address", "hosts", "hosts, one mute"])
def test_nothing_acknowledged_is_lost_and_writes_go_on(
    start_cluster: StartCluster, exits: ExitStack, nursery: Nursery, tmp_path: Path, way: str
) -> None:
    cluster = start_cluster(is_synchronous=True)
    link = Link(cluster, exits)
    stack = exits.enter_context(Stack(tmp_path, nursery, link.new_database))
    del stack.integration.environment["LEASE_SECONDS"]  # as by default
    if way != "address":
        for server in stack.servers:
            server.environment["DATABASE_URL"] = link.with_both_hosts(server.database_url)
    stack.start()
    load = Load(stack, CUSTOMERS, BATCH)
    pids = [server.pid for server in stack.servers]

    with ThreadPoolExecutor(1) as thread, ExitStack() as until_the_end:
        loading = thread.submit(load.run)
        load.wait_for_more(CUSTOMERS // 4)
        if way == "hosts, one mute":  # the whole machine is gone, and refuses nothing any more
            until_the_end.enter_context(link.to_primary.mute())
        cluster.primary.kill()
        killed_at, under_way = time.monotonic(), 2 * CLIENTS * BATCH
        answered = stack.answered()
        link.promote()
        load.wait_for_more(answered + under_way, AGAIN_SECONDS)
        seconds = time.monotonic() - killed_at
        assert not load.ended, "all was added before the primary was killed"
        loading.result()
        until(stack.is_quiet, "all is quiet", seconds=120)

    stack.check()
    assert stack.answered() == CUSTOMERS
    assert [server.pid for server in stack.servers] == pids
    print(f"{way}: 0 lost, 0 missing, 0 double; writes went on {seconds:.1f} s after the kill")  # noqa: T201


def test_what_the_standby_has_not_is_not_acknowledged(
    start_cluster: StartCluster, exits: ExitStack, nursery: Nursery, tmp_path: Path
) -> None:
    """No limit may end the wait for the standby: PostgreSQL would then report a commit."""
    cluster = start_cluster(is_synchronous=True)
    link = Link(cluster, exits)
    stack = exits.enter_context(Stack(tmp_path, nursery, link.new_database))
    stack.crm.restart()
    new = {"name": "Jane Doe", "email": "jane.doe@example.com"}

    def add() -> int:
        headers = bearer("agent123") | {"Idempotency-Key": "jane"}
        url = f"{stack.crm.url}/api/customers"
        return stack.client.post(url, json=new, headers=headers, timeout=60).status_code

    cluster.standby.send(signal.SIGSTOP)
    assert add() == 503
    cluster.standby.send(signal.SIGCONT)
    until(lambda: add() == 201, "it is acknowledged", seconds=60)

    assert stack.crm.rows("SELECT count(*) FROM customers") == [(1,)]
    assert stack.bugs() == []


def test_a_feed_that_has_lost_its_end_is_read_anew(
    start_cluster: StartCluster,
    exits: ExitStack,
    nursery: Nursery,
    new_database: NewDatabase,
    tmp_path: Path,
) -> None:
    """The primary did not wait for its standby: what was acknowledged last may be gone."""
    cluster = start_cluster(is_synchronous=False)
    link = Link(cluster, exits)

    def of_service(name: str) -> str:
        return (link.new_database if name == "crm_api" else new_database)(name)

    stack = exits.enter_context(Stack(tmp_path, nursery, of_service))
    stack.start()
    stack.add_customers(3)
    stack.wait_until_quiet()
    until(cluster.standby_has_all, "the standby has all")
    cluster.standby.stop()
    stack.add_customers(2)
    stack.wait_until_quiet()
    lost = {uid for (uid,) in stack.crm.rows("SELECT uid FROM customers ORDER BY id OFFSET 3")}

    cluster.primary.kill()
    cluster.standby.start()
    link.promote()
    recovered = "SELECT 1 FROM poller WHERE recoveries = 1 AND feed_state = 'running'"
    until(lambda: stack.integration.rows(recovered), "the integration recovers", seconds=60)
    stack.add_customers(2)
    stack.wait_until_quiet()

    verdict = stack.verdict()
    assert "The CRM's feed is diverged: " in stack.integration.logged()
    # The two who were lost have their packages, and nobody has a second one.
    assert (len(lost), set(verdict.phantom)) == (2, lost)
    assert (verdict.missing, verdict.double, verdict.undelivered) == ([], [], [])
    assert (verdict.feed, verdict.bugs) == ([], [])
