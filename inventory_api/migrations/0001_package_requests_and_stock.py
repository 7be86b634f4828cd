"""Items, their movements and kits; package requests and what is reserved for them."""

import sqlalchemy as sa
from alembic import op

from service_kit.database.types import BigInt, UtcDateTime

revision = "0001"
down_revision = None


def upgrade() -> None:
    create_items()
    create_kits()
    create_package_requests()
    create_idempotency_keys()


def create_items() -> None:
    op.create_table(
        "items",
        sa.Column("id", BigInt, primary_key=True),
        sa.Column("sku", sa.String(64), nullable=False, unique=True),
        sa.Column("name", sa.String(200), nullable=False),
        sa.Column("tracked", sa.Boolean, nullable=False),
        sa.Column("on_hand", BigInt, nullable=False),
        sa.Column("reserved", BigInt, nullable=False),
        sa.Column("reorder_level", BigInt, nullable=False),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("created_at", UtcDateTime, nullable=False),
        sa.Column("updated_at", UtcDateTime, nullable=False),
        sa.CheckConstraint("0 <= reserved AND reserved <= on_hand", name="ck_items_levels"),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "movements",
        sa.Column("id", BigInt, primary_key=True),
        sa.Column("item_id", BigInt, sa.ForeignKey("items.id"), nullable=False),
        sa.Column("on_hand_delta", BigInt, nullable=False),
        sa.Column("reserved_delta", BigInt, nullable=False),
        sa.Column("reason", sa.String(100), nullable=False),
        sa.Column("reference", sa.String(36)),
        sa.Column("actor", sa.String(100), nullable=False),
        sa.Column("at", UtcDateTime, nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_movements_item", "movements", ["item_id", "id"])


def create_kits() -> None:
    op.create_table(
        "kits",
        sa.Column("id", BigInt, primary_key=True),
        sa.Column("package_type", sa.String(64), nullable=False),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("actor", sa.String(100), nullable=False),
        sa.Column("created_at", UtcDateTime, nullable=False),
        sa.UniqueConstraint("package_type", "version", name="uq_kits_version"),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "kit_lines",
        sa.Column("kit_id", BigInt, sa.ForeignKey("kits.id"), primary_key=True),
        sa.Column("item_id", BigInt, sa.ForeignKey("items.id"), primary_key=True),
        sa.Column("quantity", sa.Integer, nullable=False),
        sa.CheckConstraint("quantity > 0", name="ck_kit_lines_quantity"),
    )


def create_package_requests() -> None:
    op.create_table(
        "package_requests",
        sa.Column("id", BigInt, primary_key=True),
        sa.Column("request_id", sa.String(36), nullable=False, unique=True),
        sa.Column("customer_id", sa.String(64), nullable=False),
        sa.Column("package_type", sa.String(64), nullable=False),
        sa.Column("occurrence", sa.Integer, nullable=False),
        sa.Column("customer_name", sa.String(200)),
        sa.Column("note", sa.Text),
        sa.Column("status", sa.String(20), nullable=False),
        sa.Column("kit_id", BigInt, sa.ForeignKey("kits.id")),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("erased_at", UtcDateTime),
        sa.Column("created_at", UtcDateTime, nullable=False),
        sa.Column("updated_at", UtcDateTime, nullable=False),
        sa.UniqueConstraint(
            "customer_id", "package_type", "occurrence", name="uq_package_requests_identity"
        ),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_package_requests_status", "package_requests", ["status", "id"])
    op.create_table(
        "reservations",
        sa.Column(
            "package_request_id", BigInt, sa.ForeignKey("package_requests.id"), primary_key=True
        ),
        sa.Column("item_id", BigInt, sa.ForeignKey("items.id"), primary_key=True),
        sa.Column("quantity", sa.Integer, nullable=False),
        sa.CheckConstraint("quantity > 0", name="ck_reservations_quantity"),
    )
    op.create_index("ix_reservations_item", "reservations", ["item_id"])


def create_idempotency_keys() -> None:
    op.create_table(
        "idempotency_keys",
        sa.Column("id", BigInt, primary_key=True),
        sa.Column("caller", sa.String(200), nullable=False),
        sa.Column("route", sa.String(200), nullable=False),
        sa.Column("key", sa.String(200), nullable=False),
        sa.Column("fingerprint", sa.String(64), nullable=False),
        sa.Column("status", sa.Integer, nullable=False),
        sa.Column("headers", sa.JSON, nullable=False),
        sa.Column("body", sa.Text, nullable=False),
        sa.Column("created_at", UtcDateTime, nullable=False),
        sa.UniqueConstraint("caller", "route", "key", name="uq_idempotency_keys"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_idempotency_keys_created_at", "idempotency_keys", ["created_at"])
