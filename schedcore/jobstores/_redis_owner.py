"""Whose the keys in Redis are: schedcore's, of which version, of which jobs, and who has them open.

The owner's key holds a name, and goes by itself when its lease is over. The scripts that write compare it.
"""

from __future__ import annotations

from typing import Any

import redis

from schedcore.errors import JobStoreError, JobStoreInUseError
from schedcore.jobstores._owned import OwnedStore
from schedcore.jobstores._owner import LEASE_S, Owner, OwnNames, Renewal, in_use, is_gone
from schedcore.jobstores._redis_scripts import RELEASE, RENEW, TAKE

__all__ = ["SCHEMA_VERSION", "OwnedKeys"]

SCHEMA_VERSION = "2"
# That of an older release, which becomes this one (``_redis_upgrade``).
_OLDER_VERSION = "1"
# Times that the owner's key may change hands while it is looked at.
_TRIES = 10
_LEASE_MS = int(LEASE_S * 1000)


class OwnedKeys(OwnedStore):
    """Keys that are written for as long as the owner's key has our name."""

    # Any: what its calls return is typed for the asynchronous client, too.
    _redis: Any
    _jobs_key: str
    _run_times_key: str

    def _name_owner(self) -> None:
        self._owner_key = f"{self._jobs_key}:owner"
        self._meta_key = f"{self._jobs_key}:meta"
        self._run_times_of_key = f"{self._run_times_key}:of"
        self._take_lease = self._redis.register_script(TAKE)
        self._renew_lease = self._redis.register_script(RENEW)
        self._release = self._redis.register_script(RELEASE)
        self._owner = Owner()
        self._renewal: Renewal | None = None
        self._names_of_mine = OwnNames()
        self._taken_last = b""  # by which name it was, as far as is known

    def _is_there(self) -> bool:
        """Whether there are keys of ours. Raises for those of another version."""
        version, last = self._redis.hmget(self._meta_key, "schema", "taken")
        self._taken_last = last or b""
        if version not in (None, SCHEMA_VERSION.encode(), _OLDER_VERSION.encode()):
            raise self._other_version(version)
        return version is not None

    def _is_older(self) -> bool:
        return bool(self._redis.hget(self._meta_key, "schema") != SCHEMA_VERSION.encode())

    def _other_version(self, version: bytes) -> JobStoreError:
        return JobStoreError(
            self._alias,
            f"the keys under {self._jobs_key!r} have schema version {version!r}, and this release reads {SCHEMA_VERSION}",
        )

    def _check_keys(self, *, there: bool) -> None:
        """Refuse keys of somebody else's: of two stores with one timeline each would take the other's jobs out of it."""
        ours = self._whose_run_times()
        new = {} if there else {"jobs_key": self._jobs_key}
        if not (ours or there):
            new["run_times_key"] = self._run_times_key
        for name, key in new.items():
            if self._redis.exists(key):
                raise JobStoreError(
                    self._alias, f"the key {key!r} is there, and was not written by schedcore; give another {name}"
                )
        if not ours and not self._redis.set(self._run_times_of_key, self._jobs_key, nx=True):
            self._whose_run_times()  # somebody else was faster

    def _whose_run_times(self) -> bool:
        """Whether the run times are noted to be those of our jobs. Raises for those of others."""
        whose: bytes | None = self._redis.get(self._run_times_of_key)
        if whose not in (None, self._jobs_key.encode()):
            raise JobStoreError(
                self._alias,
                f"the run times under {self._run_times_key!r} are those of the jobs under "
                f"{whose.decode('utf-8', 'replace')!r}; give another run_times_key",
            )
        return whose is not None

    def _take(self) -> bool:
        """See the base class. Of names that are not this object's own, only that of a dead process is taken."""
        owner = Owner()
        mine = owner.text.encode()
        holder = b""
        for _ in range(_TRIES):
            # Remembered before it is written: whether it was may remain unknown.
            self._names_of_mine.add(mine)
            args: list[bytes | int | str] = [mine, _LEASE_MS, holder, SCHEMA_VERSION, _OLDER_VERSION, self._jobs_key]
            keys = [self._owner_key, self._meta_key, self._run_times_of_key]
            before = self._taken_last
            holder, self._taken_last, other = self._take_lease(keys=keys, args=[*args, before])
            if holder == mine:
                # Nobody has taken it since the one that was expected: not even where the driver asked twice.
                alone = before in self._names_of_mine
                self._owner, self._taken_last = owner, mine
                self._names_of_mine.keep(mine)
                return alone
            if other:
                raise self._other_version(other)
            if holder and holder not in self._names_of_mine and not is_gone(holder):
                raise self._in_use(holder)
        raise JobStoreError(self._alias, "others take the store and leave it all the time", transient=True)

    def _keep(self) -> None:
        """Have it renewed from now on, by a thread."""
        self._renewal = Renewal(self._renew, self._alias)

    def _renew(self) -> None:
        if not self._renew_lease(keys=[self._owner_key], args=[self._owner.text, _LEASE_MS]):
            self._lease_ran_out()

    def _let_go(self) -> None:
        """Have nobody renew it any more, and let go of it, if it is ours."""
        renewal, self._renewal = self._renewal, None
        if renewal is not None:
            renewal.stop()
        if not self._read_only:
            try:
                self._release(keys=[self._owner_key], args=[self._owner.text])
            except redis.RedisError:
                pass  # it ends by itself

    def _in_use(self, holder: bytes) -> JobStoreInUseError:
        own = "a jobs_key and a run_times_key"
        return in_use(f"under {self._jobs_key!r}", holder, own, f"lease ends within {LEASE_S:.0f} s")
