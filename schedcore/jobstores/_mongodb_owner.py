"""Who has the collections of MongoDB open: a document with a name, and the time of its last renewal by the server's clock."""

from __future__ import annotations

import math
import time

import pymongo
from pymongo import errors as mongo_errors

from schedcore.errors import JobStoreInUseError
from schedcore.jobstores._mongodb_collections import Collections
from schedcore.jobstores._mongodb_rows import Row
from schedcore.jobstores._owner import LEASE_S, Owner, OwnNames, Renewal, in_use, is_gone

__all__ = ["OwnedCollections"]

# Seconds for letting go of the store, which ends by itself.
_RELEASE_S = 2.0
# When a lease was renewed that was not.
_NEVER = (-math.inf, -math.inf)
_RENEWED: Row = {"$currentDate": {"at": True}, "$inc": {"renewals": 1}}


class OwnedCollections(Collections):
    """Collections that are written for as long as the owner's document has our name."""

    _names_of_mine: OwnNames

    def _new_name(self) -> None:
        """Under which the store is not taken yet."""
        self._owner = Owner()
        self._names_of_mine.add(self._owner.text)
        self._renewal: Renewal | None = None
        self._renewed = _NEVER
        # How often anybody had taken it, or tried to, when we did; and whether somebody else may have had it since we did before.
        self._takes = 0
        self._had_by_others = False

    def _take(self) -> None:
        mine = self._owner.text
        if self._renewal is not None:
            self._check_version()  # whoever had it meanwhile may have been of another release
        # The server's clock, and the only one that judges.
        self._meta.update_one({"_id": "clock"}, {"$currentDate": {"at": True}, "$inc": {"takes": 1}}, upsert=True)
        for _ in range(3):
            sent = _clocks()
            clock = self._meta.find_one({"_id": "clock"}) or {}
            holder = self._meta.find_one({"_id": "owner"})
            if holder is None:
                try:
                    self._meta.insert_one({"_id": "owner", "name": mine})
                except mongo_errors.DuplicateKeyError:
                    continue
                holder = {"name": mine}
                if self._renewal is not None:
                    self._make_indexes()  # they may have gone as well
            name, at = holder.get("name"), holder.get("at")
            seen = {"_id": "owner", "name": {"$eq": name}, "renewals": {"$eq": holder.get("renewals")}}
            if name != mine:
                try:
                    age_s = (clock["at"] - at).total_seconds()
                except (KeyError, TypeError):
                    age_s = math.inf
                if age_s <= LEASE_S and name not in self._names_of_mine and not is_gone(str(name)):
                    if age_s < 0:
                        # The server's clock was set back: the lease begins again, or it would last for so much longer.
                        self._meta.update_one(seen, {"$set": {"at": clock["at"]}})
                    raise self._in_use(name)
            if self._meta.update_one(seen, {"$set": {"name": mine}, **_RENEWED}).matched_count:
                self._renewed = sent
                self._names_of_mine.keep(mine)
                takes = int(clock.get("takes", 0))
                # The first: all that was there has been deleted.
                if self._renewal is not None and takes not in (1, self._takes + 1):
                    self._had_by_others = True
                self._takes = takes
                return
        holder = self._meta.find_one({"_id": "owner"}) or {}
        raise self._in_use(holder.get("name"))

    def _renew(self) -> None:
        sent = _clocks()
        mine = {"_id": "owner", "name": self._owner.text}
        if self._meta.update_one(mine, _RENEWED).matched_count:
            self._renewed = sent
        else:
            self._renewed = _NEVER
            self._take()

    def _check_owner(self) -> None:
        """Renew a lease that is half over. Raises if somebody else has taken the store, or had it meanwhile."""
        monotonic_s, wall_s = self._renewed
        if not (0 <= time.monotonic() - monotonic_s < LEASE_S / 2 and 0 <= time.time() - wall_s < LEASE_S / 2):
            self._renew()
        if self._had_by_others:
            self._had_by_others = False
            self._look_again()

    def _leave(self) -> None:
        """Have nobody renew it any more, and let go of it, if it is ours."""
        renewal, self._renewal = self._renewal, None
        if renewal is not None:
            renewal.stop()
        if not self._read_only:
            try:
                with pymongo.timeout(_RELEASE_S):
                    self._meta.delete_one({"_id": "owner", "name": self._owner.text})
            except mongo_errors.PyMongoError:
                pass  # it ends by itself

    def _in_use(self, holder: object) -> JobStoreInUseError:
        place = f"in {self._database}.{self._collection}"
        return in_use(place, str(holder), "a collection", f"lease ends within {LEASE_S:.0f} s")


def _clocks() -> tuple[float, float]:
    return time.monotonic(), time.time()
