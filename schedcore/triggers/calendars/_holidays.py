"""Calendars of public holidays, by the ``holidays`` library."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from functools import lru_cache, partial
from threading import Lock
from typing import Any

from schedcore.errors import InvalidTriggerError, MissingExtraError, did_you_mean
from schedcore.triggers._days import CHUNK, EVERY_CHUNK, FIRST_DAY, NO_CHUNK, Days, EitherDays, OtherDays, RangeDays
from schedcore.triggers._local import DAY_S, civil
from schedcore.triggers._year_days import FIRST_YEAR, YEARS, of_years
from schedcore.triggers.calendars._calendar import FAR_DAYS, SOON, Daily, LocalSet, Span
from schedcore.triggers.cron._search import first_day

__all__ = ["Holidays"]

_EPOCH_ORDINAL = date(1970, 1, 1).toordinal()
# The library is asked by one thread at a time: it works out a year when it is first asked of it.
_ASKING = Lock()


class Holidays(Daily):
    """Closed on the public holidays of a country, as the ``holidays`` library knows them (extra ``holidays``).

    :param country: its ISO 3166-1 code, for example ``"DE"``.
    :param subdivision: a part of it that has holidays of its own, for example ``"BY"``.
    """

    __slots__ = ("country", "subdivision")
    kind = "holidays"
    country: str
    subdivision: str | None

    def __init__(self, country: str, subdivision: str | None = None) -> None:
        object.__setattr__(self, "country", country)
        object.__setattr__(self, "subdivision", subdivision)
        _holidays(country, subdivision)

    @property
    def known_until(self) -> int | None:  # type: ignore[override]
        return _known(self.country, self.subdivision)[1]

    def sets(self, closed: bool, unsure: bool = True) -> tuple[LocalSet, ...]:
        return (LocalSet((_days_of(self.country, self.subdivision, closed, unsure),)),)

    def span(self, local_s: int) -> Span:
        day = local_s // DAY_S
        since, until = _known(self.country, self.subdivision)
        if not since <= day < until:
            low, high = (until, day + FAR_DAYS) if day >= until else (day - FAR_DAYS, since)
            return Span(False, low * DAY_S, high * DAY_S)
        year = civil(day)[0]
        start = first_day(year)
        holidays = _in_year(self.country, self.subdivision, year)
        later = holidays >> day - start
        if later & 1:
            return Span(True, day * DAY_S, (day + 1) * DAY_S)
        # From the last holiday of the year, or its beginning, to the next one, or its end.
        low = start + (holidays & (1 << day - start) - 1).bit_length()
        high = day + (later & -later).bit_length() - 1 if later else first_day(year + 1)
        return Span(False, low * DAY_S, high * DAY_S)

    def _closes(self, day: int) -> bool:
        return self.span(day * DAY_S).closed

    def closed_days(self, first: int, count: int) -> int:
        found, day = 0, first
        while day < first + count:
            year = civil(day)[0]
            start = first_day(year)
            found |= _in_year(self.country, self.subdivision, year) >> day - start << day - first
            day = first_day(year + 1)
        return found & (1 << count) - 1

    def describe(self) -> str:
        return f"holidays in {self.country}{f' ({self.subdivision})' if self.subdivision else ''}"

    def __repr__(self) -> str:
        return f"Holidays({self.country!r}{f', {self.subdivision!r}' if self.subdivision else ''})"

    def _data(self) -> dict[str, Any]:
        return {"country": self.country, "subdivision": self.subdivision}

    def _restore(self, data: Mapping[str, Any]) -> None:
        object.__setattr__(self, "country", data["country"])
        object.__setattr__(self, "subdivision", data["subdivision"])


@lru_cache(maxsize=64)
def _holidays(country: str, subdivision: str | None) -> Any:
    try:
        import holidays
    except ModuleNotFoundError as error:
        raise MissingExtraError("a calendar of holidays", "holidays") from error
    try:
        return holidays.country_holidays(country, subdiv=subdivision)
    except (NotImplementedError, TypeError, AttributeError) as error:
        known = holidays.list_supported_countries()
        if country in known:
            raise InvalidTriggerError(
                f"subdivision: no part of {country} with holidays of its own is called "
                f"{subdivision!r:.80}{did_you_mean(str(subdivision), known[country])}",
                field="subdivision",
            ) from error
        raise InvalidTriggerError(
            f"country: no holidays are known of {country!r:.80}; give an ISO 3166-1 code such as 'DE'", field="country"
        ) from error


def _known(country: str, subdivision: str | None) -> tuple[int, int]:
    """The days of which the library knows whether they are holidays: from (inclusive) and until (exclusive)."""
    library = _holidays(country, subdivision)
    return first_day(library.start_year), first_day(library.end_year + 1)


@lru_cache(maxsize=4096)
def _in_year(country: str, subdivision: str | None, year: int) -> int:
    """The holidays of a year: bit 0 is 1 January. It takes the library up to a tenth of a millisecond, and is kept here alone."""
    library = _holidays(country, subdivision)
    if not library.start_year <= year <= library.end_year:
        return 0
    with _ASKING:
        library.get(date(year, 1, 1))  # works the year out
        days = [day.toordinal() - _EPOCH_ORDINAL for day in library if day.year == year]
        library.clear()
        library.years.clear()
    start = first_day(year)
    return sum(1 << day - start for day in days)


class _HolidayDays(Days):
    """The holidays that are known."""

    __slots__ = ("_country", "_subdivision")

    def __init__(self, country: str, subdivision: str | None) -> None:
        self._country, self._subdivision = country, subdivision
        self.repeats = _chunk_after(_known(country, subdivision)[1])

    def make(self, chunk: int) -> int:
        library = _holidays(self._country, self._subdivision)
        first = FIRST_YEAR + YEARS * chunk
        years = range(max(first, library.start_year), min(first + YEARS, library.end_year + 1))
        return of_years(partial(_in_year, self._country, self._subdivision), years, chunk)


def _chunk_after(day: int) -> int:
    """The first chunk of days that has none before a day."""
    return min(max(-((FIRST_DAY - day) // CHUNK), EVERY_CHUNK), NO_CHUNK)


@lru_cache(maxsize=64)
def _known_days(country: str, subdivision: str | None) -> Days:
    return _HolidayDays(country, subdivision)


@lru_cache(maxsize=64)
def _days_of(country: str, subdivision: str | None, closed: bool, unsure: bool) -> Days:
    """The days that may be closed, or open. Those soon after the last that are known may be either, where that is asked for; from
    then on all are taken to be open, as by ``span``, lest whoever searches finds days that may be the first open one for ever.
    """
    known = _known_days(country, subdivision)
    if not closed:
        return OtherDays(known)
    until = _known(country, subdivision)[1]
    return EitherDays([known, RangeDays([(until, until + SOON - 1)])]) if unsure else known
