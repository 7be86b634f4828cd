"""Planted bugs in what the kit does behind a pooler, and with several hosts of PostgreSQL."""

from tests.mutants.mutant import Mutant

_CONNECT = "service_kit/database/postgres/connect.py"
_POOL = "service_kit/database/postgres/pool.py"
_MUTE = "tests/service_kit/test_mute_database.py"
_TESTS = "tests/service_kit/test_pooler.py"

MUTANTS = [
    Mutant(
        name="no pooler is found",
        kind="condition",
        file=_CONNECT,
        text="return bool(pid == connection.get_server_pid())",
        instead="return bool(pid)",
        tests=(f"{_TESTS}::test_limits_hold_in_a_transaction_and_in_no_session",),
        engine="both",
    ),
    Mutant(
        name="a pooler that comes later is not found",
        kind="order",
        file=_CONNECT,
        text="        if self._behind_pooler:\n            self._pooled.add(connection)",
        instead="        if False:\n            self._pooled.add(connection)",
        tests=(f"{_TESTS}::test_a_pooler_that_comes_later_is_found_too",),
        engine="both",
    ),
    Mutant(
        name="the driver keeps statements behind a pooler",
        kind="condition",
        file=_CONNECT,
        text="statement_cache_size=0 if self._behind_pooler else KEPT_STATEMENTS",
        instead="statement_cache_size=KEPT_STATEMENTS",
        tests=(f"{_TESTS}::test_nothing_stays_prepared",),
        engine="both",
    ),
    Mutant(
        name="SQLAlchemy keeps statements behind a pooler",
        kind="scope",
        file=_POOL,
        text="prepared_statement_cache_size=0 if is_pooled else connect.KEPT_STATEMENTS",
        instead="prepared_statement_cache_size=connect.KEPT_STATEMENTS",
        tests=(f"{_TESTS}::test_a_column_whose_type_is_changed_is_read_as_it_is",),
        engine="both",
    ),
    Mutant(
        name="a transaction behind a pooler has no limits",
        kind="dropped",
        file=_POOL,
        text="                await self.driver.execute(self.set_local)",
        instead="                pass",
        tests=(f"{_TESTS}::test_limits_hold_in_a_transaction_and_in_no_session",),
        engine="both",
    ),
    Mutant(
        name="statements run outside of a transaction behind a pooler",
        kind="scope",
        file=_POOL,
        text="            return await self.run_in_transaction(work)",
        instead="            pass",
        tests=(f"{_TESTS}::test_a_work_that_fails_leaves_nothing_and_no_open_transaction",),
        engine="both",
    ),
    Mutant(
        name="a process listens through a pooler",
        kind="condition",
        file="service_kit/database/postgres/notify.py",
        text="if self._connections.is_pooled(connection):",
        instead="if not connection:",
        tests=(f"{_TESTS}::test_nobody_listens_through_a_pooler",),
        engine="both",
    ),
    Mutant(
        name="a direct URL may lead to another database",
        kind="condition",
        file="service_kit/database/postgres/direct_url.py",
        text="if found[0] != found[1]:",
        instead="if not found:",
        tests=(f"{_TESTS}::test_a_direct_url_must_lead_to_the_same_database",),
        engine="both",
    ),
    Mutant(
        name="the next try begins with the same silent host",
        kind="order",
        file=_CONNECT,
        text="parts.with_hosts(*parts.hosts[1:], *parts.hosts[:1])",
        instead="parts.with_hosts(*parts.hosts)",
        tests=(f"{_MUTE}::test_of_several_hosts_a_silent_one_is_passed_over_by_the_next_try",),
        engine="both",
    ),
    Mutant(
        name="of several hosts a standby will do",
        kind="condition",
        file=_CONNECT,
        text='"read-write" if has_several and not is_said else None',
        instead="None",
        tests=(f"{_TESTS}::test_while_none_of_several_hosts_takes_writes_a_start_waits",),
        engine="both",
    ),
    Mutant(
        name="a connection to a standby is used again",
        kind="scope",
        file="service_kit/database/postgres/database.py",
        text="if is_outdated(error) or is_standby(error):",
        instead="if is_outdated(error):",
        tests=(f"{_TESTS}::test_a_connection_to_a_standby_is_not_used_again",),
        engine="both",
    ),
    Mutant(
        name="a process holds one connection more than it may",
        kind="boundary",
        file="service_kit/web/app.py",
        text="pool_size=settings.database_pool_size - 1,",
        instead="pool_size=settings.database_pool_size,",
        tests=("tests/service_kit/test_connections.py",),
        engine="both",
    ),
]
