"""How the tables of an older release become those of this one.

The version is in the table of meta data. When a scheduler opens tables with an older one, the steps from there to
``SCHEMA_VERSION`` are made one after the other, each in a transaction that also notes the version it leads to. MariaDB and MySQL
end a transaction at each statement that changes a table: a step must be one that can be made again after it was interrupted.
"""

from __future__ import annotations

from collections.abc import Callable

import sqlalchemy as sa

__all__ = ["SCHEMA_VERSION", "Step", "steps_from"]

SCHEMA_VERSION = 1

#: Changes the tables of jobs, runs and meta data on a connection.
Step = Callable[[sa.Connection, sa.Table, sa.Table, sa.Table], None]

# By the version from which a step leads to the next one. Version 1 is the first.
_UPGRADES: dict[int, Step] = {}


def steps_from(version: str, to: int = SCHEMA_VERSION) -> list[tuple[int, Step]] | None:
    """The steps from a version, each with the one that it leads to; None: there is no way."""
    if not version.isdecimal() or not 0 < int(version) < to:
        return None
    steps = [(number + 1, _UPGRADES.get(number)) for number in range(int(version), to)]
    known = [(number, step) for number, step in steps if step is not None]
    return known if len(known) == len(steps) else None
