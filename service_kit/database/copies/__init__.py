"""Whole copies of a service's database: backup, verify, restore, and move to the other engine.

A backup is a SQLite file of one instant, whatever the engine it is of, with a manifest that says
what must be in it. Rows are read in the order of their keys and written as they are, with ids and
their counters, so the hash of a table is the same on both engines.
"""

from service_kit.database.copies.contents import JUMP, Advance, Contents, CopyFailed, Redo, Show

__all__ = ["JUMP", "Advance", "Contents", "CopyFailed", "Redo", "Show"]
