"""Who has the tables of RethinkDB open: a row with a name and the end of its lease, by the server's clock."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rethinkdb import r  # type: ignore[import-untyped, unused-ignore]

from schedcore.errors import JobStoreInUseError
from schedcore.jobstores._owner import LEASE_S, Owner, OwnNames, Renewal, in_use, is_gone
from schedcore.jobstores._rethinkdb_rows import Row
from schedcore.jobstores._rethinkdb_tables import Tables
from schedcore.jobstores._rethinkdb_terms import field, text

__all__ = ["OwnedTables"]


class OwnedTables(Tables):
    """Tables that are written for as long as the owner's row has our name."""

    _owner: Owner
    _names_of_mine: OwnNames
    _renewal: Renewal | None
    #: Whether somebody else had it since we took it, and did not let go.
    _had_by_others: bool

    def _new_name(self) -> None:
        """Under which the store is not taken yet."""
        self._owner = Owner()
        # All are kept, one for each opening: one that comes late may take a store that was given back since.
        self._names_of_mine.add(self._owner.text)

    def _take(self) -> None:
        mine = self._owner.text
        if self._renewal is not None:
            self._is_there()  # whoever had it meanwhile may have been of another release
        gone = ""
        for _ in range(2):
            result = self._line.ask(self._taking(mine, gone))
            self._check(result)
            if self._renewal is not None and result["former"] not in ([], [mine], [None]):
                self._had_by_others = True
            name = self._holder()
            if name == mine:
                return
            if name not in self._names_of_mine and not is_gone(name):
                break
            gone = name
        raise self._in_use(name)

    def _taking(self, mine: str, gone: str) -> Any:
        """Write the owner's row if it may be taken, by the server's clock. A row that nobody of us wrote is nobody's."""

        def take_at(now: Any) -> Any:
            new = {"id": "owner", "name": mine, "until": now.add(LEASE_S)}

            def take(row: Any) -> Any:
                name, until = field(row, "name"), field(row, "until")
                is_time = until.type_of().eq("PTYPE<TIME>")
                over = r.branch(is_time, until.lt(now), True)
                # Where the server's clock was set back the lease begins again, or it would last for so much longer.
                ahead = r.branch(is_time, new["until"].lt(until), False)
                later = row.merge({"until": new["until"]})
                return r.branch(name.eq(mine), new, name.eq(gone), new, over, new, ahead, later, row)

            return self._meta.get("owner").replace(take, return_changes=True).do(told)

        def told(result: Any) -> Row:
            """What became of it; and whose it was if that has changed, null where it was nobody's."""
            former = result["changes"].default([]).map(lambda change: text(change["old_val"], "name", None))
            return {"errors": result["errors"], "first_error": field(result, "first_error"), "former": former}

        # Bound to a variable, it is a constant for the function of the write, which has to be one of its row alone.
        return r.now().do(take_at)

    def _if_mine(self, parts: Sequence[Any]) -> list[Row]:
        """Do it if this is still the owner; a name that is gone altogether is taken again."""
        for _ in range(2):
            if self._had_by_others:
                self._had_by_others = False
                self._look_again()
            mine = field(self._read_meta.get("owner"), "name").eq(self._owner.text)
            results = self._line.ask(r.branch(mine, list(parts), None))
            if results is not None:
                return list(results)
            self._take()
        raise self._in_use(self._holder())

    def _leaving(self) -> Any:
        """Delete the owner's row, if it is ours."""
        mine = self._owner.text

        def leave(row: Any) -> Any:
            return r.branch(field(row, "name").eq(mine), None, row)

        return self._meta.get("owner").replace(leave)

    def _holder(self) -> str:
        return str(self._line.ask(text(self._read_meta.get("owner"), "name")))

    def _in_use(self, holder: str) -> JobStoreInUseError:
        return in_use(f"in {self._database}.{self._table}", holder, "a table", f"lease ends within {LEASE_S:.0f} s")
