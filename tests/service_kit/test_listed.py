"""Many values as one parameter, on both engines."""

import pytest
from sqlalchemy import Column, Connection, Integer, MetaData, String, Table, insert, select

from service_kit.database import Database
from service_kit.database.listed import is_listed
from service_kit.database.prepared import PreparedValues

words = Table(
    "words", MetaData(), Column("word", String(20), primary_key=True), Column("length", Integer)
)
FOUND = PreparedValues[str](select(words.c.word).where(is_listed(words.c.word, "some")))
OF_LENGTH = PreparedValues[str](select(words.c.word).where(is_listed(words.c.length, "some")))
KNOWN = ["a'b", 'c"d', "é", "\\", "[1]", "null"]


def make(db: Connection) -> None:
    words.create(db, checkfirst=True)
    db.execute(insert(words), [{"word": word, "length": len(word)} for word in KNOWN])


@pytest.mark.parametrize("some", [[], ["nobody"], ["null"], KNOWN[:3], [*KNOWN, "x", *KNOWN]])
async def test_what_is_listed_is_found(database: Database, some: list[str]) -> None:
    if not await database.read(exists):
        await database.write(make)

    found = await database.read(FOUND.all, some=some)

    assert sorted(found) == sorted(set(some) & set(KNOWN))


async def test_so_are_numbers(database: Database) -> None:
    if not await database.read(exists):
        await database.write(make)

    found = await database.read(OF_LENGTH.all, some=[3, 1, 2**40])

    assert sorted(found) == sorted(w for w in KNOWN if len(w) in {1, 3})


def exists(db: Connection) -> bool:
    return db.dialect.has_table(db, "words")
