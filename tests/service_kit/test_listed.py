"""Many values as one parameter, on both engines."""

import pytest
from sqlalchemy import Column, Connection, MetaData, String, Table, insert, select

from service_kit.database import Database
from service_kit.database.listed import is_listed
from service_kit.database.prepared import Prepared

words = Table("words", MetaData(), Column("word", String(20), primary_key=True))
FOUND = Prepared(select(words.c.word).where(is_listed(words.c.word, "some")))
KNOWN = ["a'b", 'c"d', "é", "\\", "[1]", "null"]


def make(db: Connection) -> None:
    words.create(db, checkfirst=True)
    db.execute(insert(words), [{"word": word} for word in KNOWN])


@pytest.mark.parametrize("some", [[], ["nobody"], ["null"], KNOWN[:3], [*KNOWN, "x", *KNOWN]])
async def test_what_is_listed_is_found(database: Database, some: list[str]) -> None:
    if not await database.read(exists):
        await database.write(make)

    found = await database.read(FOUND.all, some=some)

    assert sorted(row.word for row in found) == sorted(set(some) & set(KNOWN))


def exists(db: Connection) -> bool:
    return db.dialect.has_table(db, "words")
