"""Which release of the tz database the rules of a zone come from.

Governments change the clocks, so an instant that was computed from a wall-clock rule and stored holds for the release that
it was computed with. Triggers write that release into their state, and know after loading whether it is another one now.
"""

from __future__ import annotations

import os
import re
from datetime import tzinfo
from functools import lru_cache
from importlib import import_module

__all__ = ["release", "zone_data_version"]

_FIRST_LINE = re.compile(r"# version (\S+)")


def zone_data_version(zone: tzinfo) -> str | None:
    """The release, such as ``"2025b"``, of the data that ``zoneinfo`` takes for a zone.

    None where there is none (UTC, a fixed offset, a class of the user's own) or where the system does not say. It is looked
    up once per process, as zones are.
    """
    key = getattr(zone, "key", None)
    return _version_of(key) if isinstance(key, str) else None


def release() -> str | None:
    """The release of the data in general, where it is known: that of a zone which every system has."""
    return _version_of("Europe/London")


@lru_cache(maxsize=1024)
def _version_of(key: str) -> str | None:
    from zoneinfo import TZPATH

    # As zoneinfo looks for it: the first folder that has the zone, and then the package tzdata.
    for folder in TZPATH:
        if os.path.isfile(os.path.join(folder, *key.split("/"))):
            return _folder_version(folder)
    try:
        version = getattr(import_module("tzdata"), "IANA_VERSION", None)
    except ImportError:
        return None
    return None if version is None else str(version)


@lru_cache(maxsize=16)
def _folder_version(folder: str) -> str | None:
    # The source form of the data begins with its version; the systems of the BSD family have a file for it.
    for name, pattern in (("tzdata.zi", _FIRST_LINE), ("+VERSION", None)):
        try:
            with open(os.path.join(folder, name), encoding="utf-8", errors="replace") as file:
                line = file.readline(100).strip()
        except OSError:
            continue
        match = pattern.match(line) if pattern is not None else None
        if match is not None:
            return match.group(1)
        if pattern is None and line:
            return line
    return None
