"""What customers and tickets are searched by, filled for those that are there.

The texts are folded by the code that searches them, as no two ways of folding may meet here.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import sqlalchemy as sa
from alembic import op

from crm_api.search import SearchIndex, fold

revision = "0004"
down_revision = "0003"

ROWS_AT_ONCE = 1000


def upgrade() -> None:
    for name, source, columns in (
        ("customer_search", "customers", ("name", "email", "company")),
        ("ticket_search", "tickets", ("subject", "description")),
    ):
        create(name)
        fill(name, source, columns)
        if op.get_bind().dialect.name == "postgresql":
            op.create_index(f"ix_{name}_trigrams", name, ["trigrams"], postgresql_using="gin")


def create(name: str) -> None:
    if op.get_bind().dialect.name == "sqlite":
        # The text is folded already. The rows that match are read, so neither places nor sizes
        # need to be kept, which halves the index.
        op.execute(
            f"CREATE VIRTUAL TABLE {name} USING fts5("
            "text, tokenize = 'trigram case_sensitive 1', detail = none, columnsize = 0)"
        )
        return
    op.create_table(
        name,
        sa.Column("rowid", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("text", sa.Text, nullable=False),
        sa.Column("trigrams", sa.ARRAY(sa.Integer), nullable=False),
    )


def fill(name: str, source: str, columns: tuple[str, ...]) -> None:
    index = SearchIndex(name)
    for rows in some_at_a_time(source, columns):
        index.add(op.get_bind(), [(row[0], fold(*row[1:])) for row in rows])


def some_at_a_time(source: str, columns: tuple[str, ...]) -> Iterator[Sequence[Any]]:
    """Read rows in the order of their ids, without those of people who were erased."""
    table = sa.table(source, *(sa.column(name) for name in ("id", "erased_at", *columns)))
    chosen = sa.select(table.c.id, *(table.c[name] for name in columns))
    if source == "customers":
        chosen = chosen.where(table.c.erased_at.is_(None))
    after = 0
    while True:
        some = chosen.where(table.c.id > after).order_by(table.c.id).limit(ROWS_AT_ONCE)
        if not (rows := op.get_bind().execute(some).all()):
            return
        yield rows
        after = rows[-1].id
