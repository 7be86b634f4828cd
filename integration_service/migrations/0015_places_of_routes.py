"""Each route has a place in the feed, and webhooks' deliveries name the event that they report."""

import sqlalchemy as sa
from alembic import op

from service_kit.database.types import BigInt, UtcDateTime

revision = "0015"
down_revision = "0014"

HOLDING = sa.text("event_subject IS NOT NULL AND state IN ('pending', 'retrying', 'dead')")
WELCOME = "UPDATE routes SET package_type = 'welcome_package' WHERE name = 'welcome-package'"


def upgrade() -> None:
    for column in columns_of_routes():
        op.add_column("routes", column)
    op.execute(WELCOME)
    for name in ("routes_hash", "accepted_routes_hash"):
        op.add_column("poller", sa.Column(name, sa.String(64)))
    op.add_column("deliveries", sa.Column("event_type", sa.String(40)))
    op.add_column("deliveries", sa.Column("event_subject", sa.String(64)))
    order = ["route", "event_subject", "sequence"]
    op.create_index(
        "ix_deliveries_order", "deliveries", order, postgresql_where=HOLDING, sqlite_where=HOLDING
    )
    widen_names_of_targets()


def columns_of_routes() -> list[sa.Column[object]]:
    return [
        sa.Column("target", sa.String(20), nullable=False, server_default="inventory"),
        sa.Column("ordering", sa.String(10), nullable=False, server_default="none"),
        sa.Column("package_type", sa.String(64)),
        sa.Column("removed_at", UtcDateTime),
        sa.Column("pause_reason", sa.String(200)),
        sa.Column("feed_state", sa.String(10), nullable=False, server_default="running"),
        sa.Column("start_from", sa.String(20)),
        sa.Column("cursor", sa.String(200)),
        sa.Column("position", BigInt),
        sa.Column("head_position", BigInt),
        sa.Column("last_poll_at", UtcDateTime),
        sa.Column("caught_up_at", UtcDateTime),
        sa.Column("last_error", sa.Text),
        sa.Column("last_error_at", UtcDateTime),
    ]


def widen_names_of_targets() -> None:
    """Make room for `webhook:` and the name of a route."""
    if op.get_context().dialect.name != "sqlite":
        op.alter_column("links", "target", type_=sa.String(60))
        return
    op.create_table(
        "new_links",
        sa.Column("target", sa.String(60), primary_key=True),
        sa.Column("opened_at", UtcDateTime),
        sa.Column("next_probe_at", UtcDateTime),
        sa.Column("probe_seconds", sa.Float, nullable=False),
        sa.Column("failures", sa.Integer, nullable=False),
        sa.Column("tried_seconds", sa.Float, nullable=False),
        sa.Column("succeeded_seconds", sa.Float),
        sa.Column("error_class", sa.String(20)),
        sa.Column("error", sa.Text),
    )
    kept = (
        "target, opened_at, next_probe_at, probe_seconds, failures, tried_seconds,"
        " succeeded_seconds, error_class, error"
    )
    op.execute(f"INSERT INTO new_links ({kept}) SELECT {kept} FROM links")  # noqa: S608
    op.drop_table("links")
    op.rename_table("new_links", "links")
