"""Calendars of public holidays, by the ``holidays`` library."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import MAXYEAR, MINYEAR, date
from functools import lru_cache
from typing import Any

from schedcore.errors import InvalidTriggerError, MissingExtraError, did_you_mean
from schedcore.triggers._local import civil
from schedcore.triggers.calendars._calendar import Daily
from schedcore.triggers.cron._search import first_day

__all__ = ["Holidays"]


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

    def _closes(self, day: int) -> bool:
        year = civil(day)[0]
        return bool(_in_year(self.country, self.subdivision, year) >> day - first_day(year) & 1)

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
                f"{subdivision!r}{did_you_mean(str(subdivision), known[country])}",
                field="subdivision",
            ) from error
        raise InvalidTriggerError(
            f"country: no holidays are known of {country!r}; give an ISO 3166-1 code such as 'DE'", field="country"
        ) from error


@lru_cache(maxsize=2048)
def _in_year(country: str, subdivision: str | None, year: int) -> int:
    """The holidays of a year: bit 0 is 1 January. The library works out each year when it is first asked of it."""
    if not MINYEAR <= year <= MAXYEAR:
        return 0
    known = _holidays(country, subdivision)
    start, end = date(year, 1, 1), date(year, 12, 31)
    days = {*known[start:end], *([end] if end in known else ())}  # of a slice of it the end is no part
    return sum(1 << (day - start).days for day in days)
