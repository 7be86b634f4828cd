"""The table of package requests."""

from sqlalchemy import Column, Integer, MetaData, String, Table, Text, UniqueConstraint

from service_kit.database.types import BigInt, UtcDateTime

metadata = MetaData()

package_requests = Table(
    "package_requests",
    metadata,
    Column("id", BigInt, primary_key=True),
    Column("request_id", String(36), nullable=False, unique=True),
    Column("customer_id", String(64), nullable=False),
    Column("package_type", String(64), nullable=False),
    Column("occurrence", Integer, nullable=False),
    Column("customer_name", String(200)),
    Column("note", Text),
    Column("status", String(20), nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("updated_at", UtcDateTime, nullable=False),
    # The promise of one package a customer. Rows are never deleted, so it holds for ever: whoever
    # asks again, however much later, finds the request that is there.
    UniqueConstraint(
        "customer_id", "package_type", "occurrence", name="uq_package_requests_identity"
    ),
    sqlite_autoincrement=True,
)
