"""No two tokens have one name, since the audit names them by it.

Of several with one name, the oldest that is not revoked keeps it. The others get their id behind
it.
"""

from collections.abc import Collection

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"

LONGEST = 100

_tokens = sa.table("tokens", sa.column("id"), sa.column("name"), sa.column("revoked_at"))
_OLDEST_VALID_FIRST = sa.select(_tokens.c.id, _tokens.c.name).order_by(
    sa.case((_tokens.c.revoked_at.is_(None), 0), else_=1), _tokens.c.id
)


def upgrade() -> None:
    connection = op.get_bind()
    found = connection.execute(_OLDEST_VALID_FIRST).all()
    taken = {name for _, name in found}
    kept: set[str] = set()
    for number, name in found:
        if name in kept:
            new = _free_name(name, number, taken)
            taken.add(new)
            connection.execute(sa.update(_tokens).where(_tokens.c.id == number).values(name=new))
        kept.add(name)
    op.create_index("uq_tokens_name", "tokens", ["name"], unique=True)


def _free_name(name: str, number: int, taken: Collection[str]) -> str:
    suffix = f" #{number}"
    while (new := name[: LONGEST - len(suffix)] + suffix) in taken:
        suffix += "'"
    return new
