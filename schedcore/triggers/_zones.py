"""Time zones and dates at the edge: what users hand over becomes a zone and an instant here, or an error.

Inside schedcore a zone is a ``zoneinfo.ZoneInfo`` or a fixed ``datetime.timezone``, and UTC is always
``datetime.UTC``, which needs no zone data. Names, zones of pytz
and of python-dateutil are turned into these; a ``tzinfo`` class of the user's own is kept as it is (it
works, but only pickle can store it).

``zoneinfo`` and ``tzlocal`` are imported when first needed, because ``import schedcore`` has to be cheap.
"""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta, tzinfo
from datetime import timezone as fixed_zone
from functools import lru_cache

from schedcore.clock import from_datetime, to_datetime
from schedcore.errors import InvalidTriggerError, did_you_mean
from schedcore.triggers.jitter import Jitter

__all__ = [
    "FIRST_US",
    "LAST_US",
    "iso_text",
    "local_zone",
    "same_zone",
    "to_instant",
    "to_jitter",
    "to_zone",
    "zone_state",
]

# Microseconds. The instants that triggers answer with: two days inside what datetime can express (years 1 to
# 9999), so that every zone can show them.
FIRST_US = from_datetime(datetime(1, 1, 3, tzinfo=UTC))
LAST_US = from_datetime(datetime(9999, 12, 30, tzinfo=UTC))

_FIXED = re.compile(r"(?:UTC|GMT)?([+-])(\d\d):(\d\d)(?::(\d\d))?")
_OFFSET_LIKE = re.compile(r"(?:UTC|GMT)?[+-]\d.*", re.IGNORECASE)
# A date in which people leave zeros out, and numbers of one digit that are no fraction.
_LOOSE = re.compile(r"\d{4}-\d{1,2}-\d{1,2}(?!\d).*")
_ONE_DIGIT = re.compile(r"(?<![\d.,])\d(?!\d)")
# What clocks and mails call a zone. EST, MST and a few others are IANA names as well, of fixed offsets in America, so that the
# nearest name is a wrong one.
_ABBREVIATION = re.compile(r"[A-Z]{2,5}")
# Characters. The longest name has 32; to look for a file of a name of two million takes half a gigabyte.
_LONGEST_NAME = 100
_ABOUT_A_ZONE = "give an IANA name such as 'Europe/Berlin', a fixed offset such as 'UTC+02:00', or a tzinfo"

_local: tzinfo | None = None
#: The last zone object that ``to_zone`` took as it stands; constructors compare with it to save the call.
recent: tzinfo = UTC


def local_zone() -> tzinfo:
    """The zone of this machine as tzlocal finds it, asked once per process. Raises ``InvalidTriggerError``
    when it cannot tell.
    """
    global _local
    if _local is None:
        import tzlocal

        try:
            _local = tzlocal.get_localzone()
        except (LookupError, ValueError, OSError) as error:
            # The text of a KeyError is in quotes, with its line ends as escapes.
            reason = " ".join(str(error.args[0] if isinstance(error, LookupError) and error.args else error).split())
            raise InvalidTriggerError(
                f"the time zone of this machine cannot be told ({reason}); pass timezone=, or set the environment "
                f"variable TZ",
                field="timezone",
            ) from error
    return _local


def to_zone(value: str | tzinfo | None) -> tzinfo:
    """The zone that ``value`` names: None for the machine's own, a name, a fixed offset (``UTC+02:00``) or
    any ``tzinfo``.

    Raises ``InvalidTriggerError`` (field ``timezone``) with the nearest known name.
    """
    if value is None:
        return _local or local_zone()
    if isinstance(value, str):
        return _named(value)
    if isinstance(value, tzinfo):
        return _from_tzinfo(value)
    raise InvalidTriggerError(
        f"timezone: {value!r} is of type {type(value).__name__}; {_ABOUT_A_ZONE}", field="timezone"
    )


@lru_cache(maxsize=64)
def _named(name: str) -> tzinfo:
    if name == "UTC":
        return UTC
    if len(name) > _LONGEST_NAME:
        raise InvalidTriggerError(f"timezone: no zone is called {name[:40]!r}…; {_ABOUT_A_ZONE}", field="timezone")
    from zoneinfo import ZoneInfo, available_timezones

    fixed = _FIXED.fullmatch(name)
    if fixed is not None:
        sign, hours, minutes, seconds = fixed.groups()
        offset = timedelta(hours=int(hours), minutes=int(minutes), seconds=int(seconds or 0))
        if int(minutes) < 60 and int(seconds or 0) < 60 and offset < timedelta(days=1):
            return fixed_zone(-offset if sign == "-" else offset)
    elif name and name == name.strip():
        try:
            return ZoneInfo(name)
        except (LookupError, ValueError, OSError):
            pass
    if _OFFSET_LIKE.fullmatch(name):
        hint = "; a fixed offset has two digits for hours and for minutes, such as 'UTC+03:00' (east is +)"
    else:
        known = available_timezones()
        lower = {key.lower(): key for key in known}
        bare = name.strip().replace(" ", "_").lower()
        hit = lower.get(bare) or next((key for key in sorted(known) if key.lower().endswith(f"/{bare}")), None)
        if hit is not None and bare:
            hint = f"; did you mean {hit!r}?"
        elif _ABBREVIATION.fullmatch(name):
            hint = f", and abbreviations are those of several; {_ABOUT_A_ZONE}"
        else:
            near = did_you_mean(name, known) if known else "; no zone data was found: pip install tzdata"
            hint = near if len(near) < 100 else f"; {_ABOUT_A_ZONE}"
    raise InvalidTriggerError(f"timezone: no zone is called {name!r}{hint}", field="timezone")


def _from_tzinfo(value: tzinfo) -> tzinfo:
    global recent
    from zoneinfo import ZoneInfo

    if isinstance(value, ZoneInfo | fixed_zone):
        recent = UTC if zone_state(value) == "UTC" else value
        return recent
    name = getattr(value, "zone", None)
    if isinstance(name, str) and hasattr(value, "localize"):
        # One of pytz, which is no good for arithmetic. It is what it is called, be its zone data of another release.
        try:
            return UTC if name == "UTC" else ZoneInfo(name)
        except (LookupError, ValueError, OSError):
            pass
    try:
        to_datetime(0).astimezone(value)
    except Exception as error:
        raise InvalidTriggerError(
            f"timezone: {value!r} does not tell its offset from UTC ({type(error).__name__}: {error}); {_ABOUT_A_ZONE}",
            field="timezone",
        ) from error
    # python-dateutil shows a file's path in its repr only. A name that is found so is believed when it gives the same offsets.
    for word in (str(name or ""), *re.findall(r"[A-Za-z][\w+/-]*", repr(value))):
        parts = word.split("/")
        for first in range(len(parts)):
            key = "/".join(parts[first:])
            try:
                candidate = ZoneInfo(key)
            except (LookupError, ValueError, OSError):
                continue
            if _agree(value, candidate):
                return candidate
    try:
        offset = value.utcoffset(None)
    except Exception:  # noqa: BLE001 - foreign code
        offset = None
    # Zones whose clocks change may answer None with their standard time, as those in Python's documentation do.
    return value if offset is None or not _agree(value, fixed_zone(offset)) else fixed_zone(offset)


def _agree(one: tzinfo, other: tzinfo) -> bool:
    for year in (1985, 2005, 2020, 2030):
        for month in (1, 4, 7, 10):
            at = datetime(year, month, 15, tzinfo=UTC)
            if at.astimezone(one).utcoffset() != at.astimezone(other).utcoffset():
                return False
    return True


def zone_state(zone: tzinfo) -> str | tzinfo:
    """How a zone is stored: text that ``to_zone`` reads, or the object itself when no text can name it."""
    key = getattr(zone, "key", None)
    if isinstance(key, str):
        return key
    if isinstance(zone, fixed_zone):
        offset = zone.utcoffset(None)
        if not offset:
            return "UTC"
        sign, size = ("-", -offset) if offset < timedelta(0) else ("+", offset)
        if not size.microseconds:
            hours, rest = divmod(size.seconds, 3600)
            minutes, seconds = divmod(rest, 60)
            return f"UTC{sign}{hours:02}:{minutes:02}" + (f":{seconds:02}" if seconds else "")
    return zone


def same_zone(one: tzinfo, other: tzinfo) -> bool:
    """Whether two zones have the same name; of zones that have none, whether they are equal."""
    return one is other or zone_state(one) == zone_state(other)


def iso_text(text: str) -> str:
    """A date as ISO 8601 writes it, of one without the zeros (``2026-3-9 7:05:00``), as 3.x takes it."""
    text = text.strip()
    return _ONE_DIGIT.sub(r"0\g<0>", text) if _LOOSE.fullmatch(text) else text


def to_instant(value: date | datetime | str, zone: tzinfo, field: str) -> int:
    """Microseconds since the epoch of a date, a datetime or ISO 8601 text; without an offset it is local in
    ``zone``.

    A date means its midnight. A local time that comes twice means the first, unless its ``fold`` is 1.
    Raises ``InvalidTriggerError`` naming ``field`` for text that is no date, for a local time that does not exist, and for an
    instant that no trigger answers with.
    """
    if isinstance(value, str):
        try:
            moment = datetime.fromisoformat(iso_text(value))
        except ValueError as error:
            raise InvalidTriggerError(
                f"{field}: {value!r} is not a date ({error}); write ISO 8601 text such as '2026-03-29', "
                f"'2026-03-29 02:30:00' or '2026-03-29T02:30:00+01:00'",
                field=field,
            ) from None
    elif isinstance(value, datetime):
        moment = value
    elif isinstance(value, date):
        moment = datetime(value.year, value.month, value.day)  # noqa: DTZ001 - the zone follows
    else:
        raise InvalidTriggerError(
            f"{field}: {value!r} is of type {type(value).__name__}; give a date, a datetime or ISO 8601 text",
            field=field,
        )
    named = moment.tzinfo is None  # whether the zone is that of the trigger
    aware = moment.replace(tzinfo=zone) if named else moment
    if aware.utcoffset() is None:
        raise InvalidTriggerError(
            f"{field}: {value!s} is no instant, because {aware.tzinfo!r} knows no offset from UTC for it; "
            f"{_ABOUT_A_ZONE} whose utcoffset() answers",
            field=field,
        )
    try:
        instant_us = from_datetime(aware)
        back = to_datetime(instant_us).astimezone(zone) if named else None
    except OverflowError:
        instant_us, back = (FIRST_US - 1 if moment.year < 5000 else LAST_US + 1), None
    if back is not None and back.replace(tzinfo=None) != moment.replace(fold=0):
        raise InvalidTriggerError(
            f"{field}: {moment.isoformat(sep=' ')} does not exist in {zone}: clocks jump over it to "
            f"{_after_gap(moment, zone).isoformat(sep=' ')}; give a time that exists, or one with an offset",
            field=field,
        )
    shown = f"{value!s} in {zone}" if named else str(value)
    if instant_us > LAST_US:
        advice = "leave it out for a schedule without an end" if field == "end_date" else "give an earlier one"
        raise InvalidTriggerError(
            f"{field}: {shown} is later than 9999-12-30 00:00 UTC, the last instant that can be scheduled; {advice}",
            field=field,
        )
    if instant_us < FIRST_US:
        raise InvalidTriggerError(
            f"{field}: {shown} is earlier than 0001-01-03 00:00 UTC, the first instant that can be scheduled; give a "
            f"later one",
            field=field,
        )
    return instant_us


def _after_gap(moment: datetime, zone: tzinfo) -> datetime:
    """The first local time after the gap in which the naive ``moment`` lies, with its offset."""
    before_us = from_datetime(
        moment.replace(tzinfo=zone, fold=1)
    )  # read with the later offset: an instant before the gap
    after_us = from_datetime(moment.replace(tzinfo=zone, fold=0))  # read with the earlier offset: one after it
    old = to_datetime(before_us).astimezone(zone).utcoffset()
    while after_us - before_us > 1:
        middle_us = (before_us + after_us) // 2
        if to_datetime(middle_us).astimezone(zone).utcoffset() == old:
            before_us = middle_us
        else:
            after_us = middle_us
    return to_datetime(after_us).astimezone(zone)


def to_jitter(value: float | None) -> int:
    """Microseconds of a jitter in seconds (None or 0: none), negative for a hashed one. Raises ``InvalidTriggerError`` below
    zero.
    """
    if value is None:
        return 0
    if isinstance(value, Jitter):
        return value.us
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1e12:
        raise InvalidTriggerError(
            f"jitter: {value!r} cannot be used; give the longest delay in seconds, 0 or more", field="jitter"
        )
    return round(value * 1_000_000)
