"""Where jobs and runs are kept: what a schedule file and ``--store`` say, and how that is opened.

Unless told otherwise it is an SQLite file beside the schedule: ``jobs.sqlite`` for ``jobs.toml``, ``crontab.sqlite`` for
``crontab``. A relative SQLite path starts from the folder of the file that names it, or, on the command line, from the
working directory.

**URLs** lead to stores of other kinds as well: ``redis://host:6379/0``, ``rediss://…``, ``unix:///path/of/socket?db=0``,
``mongodb://host/database``, ``mongodb+srv://…``, ``etcd://host:2379/path``, ``zookeeper://one:2181,two:2181/path``,
``rethinkdb://host:28015/database``. What follows a question mark are arguments of the job store's, such as
``?jobs_key=app.jobs`` or ``?collection=app_jobs``; with MongoDB, those of its own URIs too.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from typing import Any, NamedTuple
from urllib.parse import SplitResult, parse_qsl, unquote, urlencode, urlsplit

from schedcore import config, plugins
from schedcore.cli.schedule import ScheduleFile, importable
from schedcore.cli.words import short_path
from schedcore.errors import ConfigurationError, FailureError, did_you_mean, without_password
from schedcore.job import JobEntry
from schedcore.jobstores.base import JobStore
from schedcore.run import RunRecord
from schedcore.schedulers.background import BackgroundScheduler

__all__ = [
    "DEFAULT",
    "Reader",
    "StoreMissingError",
    "StorePlace",
    "beside",
    "find_here",
    "is_sqlite",
    "of_file",
    "of_option",
    "to_read",
]

#: The alias of the job store that jobs are in unless they name another.
DEFAULT = "default"

_SQLITE = re.compile(r"sqlite(?:\+\w+)?://(?:/(?P<path>[^?]*))?(?P<query>\?.*)?")
_MAGIC = b"SQLite format 3\0"
_SUFFIXES = (".sqlite", ".sqlite3", ".db")


class StorePlace(NamedTuple):
    """A job store as configured: its alias, and what ``config.component`` takes."""

    alias: str
    options: Mapping[str, Any]
    url: str = ""  #: that it was given by, if that is none of its options
    folder: str | None = None  #: of the schedule file that names it

    @property
    def kind(self) -> str:
        """The plug-in alias, or the class."""
        return str(self.options.get("type") or self.options.get("class"))

    @property
    def path(self) -> str | None:
        """Of the SQLite file, if it is one; empty for a database in memory."""
        url = self.options.get("url", "")
        if not isinstance(url, str):
            return str(url.database)
        match = _SQLITE.fullmatch(url)
        if match is None or self.kind != "sqlalchemy":
            return None
        return "" if match["path"] in (None, ":memory:") else match["path"]

    @property
    def durable(self) -> bool:
        """Whether another process can look at it."""
        return self.kind != "memory" and self.path != ""

    def __str__(self) -> str:
        if self.path:
            return short_path(self.path)
        if "url" in self.options or self.url:
            return without_password(str(self.options.get("url", self.url)))
        return "memory" if self.kind == "memory" else f"{self.alias} ({self.kind})"


def _sqlite(path: str) -> dict[str, Any]:
    url: Any = f"sqlite:///{path}"
    if "%" in path or "?" in path:
        # What these mean in the text of a URL depends on SQLAlchemy's version.
        from sqlalchemy import URL

        url = URL.create("sqlite", database=path)
    return {"type": "sqlalchemy", "url": url}


def beside(path: str | os.PathLike[str]) -> StorePlace:
    """The SQLite file that goes with a schedule file. Raises ``ConfigurationError`` for a schedule that comes through a pipe."""
    name = os.path.abspath(path)
    if os.path.exists(name) and not os.path.isfile(name):
        raise ConfigurationError(
            f"{os.fspath(path)!r} is no file that a store could be beside; give one with --store PATH"
        )
    stem = name[:-5] if name.lower().endswith(".toml") else name
    return StorePlace(DEFAULT, _sqlite(f"{stem}.sqlite"))


def of_option(text: str) -> StorePlace:
    """What ``--store`` says: a URL, the path of an SQLite file, or ``memory``."""
    given = text.strip()
    if given == "memory":
        return StorePlace(DEFAULT, {"type": "memory"})
    if not given:
        raise ConfigurationError("--store is empty; give a URL such as sqlite:///jobs.sqlite, a path, or memory")
    if "://" in given:
        read = _SCHEMES.get(given.partition("://")[0].lower())
        if read is None:
            return StorePlace(DEFAULT, _rooted({"type": "sqlalchemy", "url": given}, os.getcwd()))
        try:
            return StorePlace(DEFAULT, read(urlsplit(given)), given)
        except ValueError as error:
            raise ConfigurationError(f"{without_password(given)} is not the URL of a job store: {error}") from error
    if re.fullmatch(r"[a-z]+|[a-z+]{2,}:.*", given) and not os.path.exists(given):
        kind = given.partition(":")[0]
        example = f"{kind}://host" if kind in _SCHEMES else "sqlite:///jobs.sqlite"
        hint = did_you_mean(given, ["memory"])
        raise ConfigurationError(
            f"--store {given}: give a URL such as {example}, the path of an SQLite file, or memory"
            + (hint if "did you mean" in hint else "")
        )
    return StorePlace(DEFAULT, _sqlite(os.path.abspath(given)))


def _arguments(url: SplitResult) -> dict[str, Any]:
    """What follows the question mark. Text, as in a file of settings: the job store's own types decide what it becomes."""
    return dict(parse_qsl(url.query, keep_blank_values=True))


def _account(url: SplitResult) -> dict[str, Any]:
    """Who asks, and where."""
    found = {"host": url.hostname, "port": url.port, "username": url.username, "password": url.password}
    return {name: unquote(value) if isinstance(value, str) else value for name, value in found.items() if value}


def _user(url: SplitResult) -> dict[str, Any]:
    """The same for who calls the one who asks ``user``."""
    return {"user" if name == "username" else name: value for name, value in _account(url).items()}


def _redis(url: SplitResult) -> dict[str, Any]:
    options: dict[str, Any] = {"type": "redis"}
    if url.scheme == "unix":
        where = _account(url) | {"unix_socket_path": unquote(url.path)}
        where.pop("host", None)
    else:
        where = _account(url)
        if url.scheme == "rediss":
            where["ssl"] = True
        number = url.path.strip("/")
        if number:
            where["db"] = int(number)
    return options | where | _arguments(url)


def _mongodb(url: SplitResult) -> dict[str, Any]:
    # The driver reads the URI itself; the rest of the arguments it would not know.
    ours = {name: value for name, value in _arguments(url).items() if name in _OF_MONGODB}
    query = urlencode([pair for pair in parse_qsl(url.query, keep_blank_values=True) if pair[0] not in ours])
    database = unquote(url.path.strip("/"))
    named = {"database": database} if database else {}
    return {"type": "mongodb", "host": url._replace(query=query).geturl(), **named, **ours}


def _etcd(url: SplitResult) -> dict[str, Any]:
    return {"type": "etcd", **_user(url), **_path(url), **_arguments(url)}


def _zookeeper(url: SplitResult) -> dict[str, Any]:
    if "@" in url.netloc:
        raise ValueError("a user is nothing that it can name; use a program of your own")
    return {"type": "zookeeper", "hosts": url.netloc or "localhost", **_path(url), **_arguments(url)}


def _rethinkdb(url: SplitResult) -> dict[str, Any]:
    database = unquote(url.path.strip("/"))
    return {"type": "rethinkdb", **_user(url), **({"database": database} if database else {}), **_arguments(url)}


def _path(url: SplitResult) -> dict[str, Any]:
    path = unquote(url.path)
    return {"path": path} if path.strip("/") else {}


#: Arguments of the job store's, among those that MongoDB's own URIs have.
_OF_MONGODB = frozenset(
    {"allowed_refs", "collection", "history", "history_age", "pickle_protocol", "serializer", "signing_key"}
)
#: By the scheme of a URL. All others are SQLAlchemy's.
_SCHEMES: Mapping[str, Callable[[SplitResult], dict[str, Any]]] = {
    "redis": _redis,
    "rediss": _redis,
    "unix": _redis,
    "mongodb": _mongodb,
    "mongodb+srv": _mongodb,
    "etcd": _etcd,
    "zookeeper": _zookeeper,
    "rethinkdb": _rethinkdb,
}


def _rooted(options: Mapping[str, Any], folder: str) -> dict[str, Any]:
    """Options whose relative SQLite path starts from ``folder``."""
    made = dict(options)
    match = _SQLITE.fullmatch(str(made.get("url", "")))
    if match is not None and match["path"] not in (None, "", ":memory:") and made.get("type") == "sqlalchemy":
        path = os.path.normpath(os.path.join(folder, match["path"]))
        made["url"] = f"sqlite:///{path}{match['query']}" if match["query"] else _sqlite(path)["url"]
    return made


def of_file(file: ScheduleFile, store: str | None = None) -> list[StorePlace]:
    """All job stores of a schedule, the default one first."""
    places = {
        alias: StorePlace(alias, _rooted(options, file.folder), folder=file.folder)
        for alias, options in file.jobstores.items()
    }
    if store is not None:
        places[DEFAULT] = of_option(store)
    elif DEFAULT not in places and file.jobs:
        places[DEFAULT] = beside(file.path)
    return sorted(places.values(), key=lambda place: place.alias != DEFAULT)


def is_sqlite(path: str) -> bool:
    """Whether there is an SQLite file."""
    try:
        with open(path, "rb") as file:
            return file.read(len(_MAGIC)) == _MAGIC
    except OSError:
        return False


def find_here(folder: str = ".") -> StorePlace:
    """The only store in a folder. Raises ``ConfigurationError`` when there is none, or more than one."""
    found = sorted(
        name for name in os.listdir(folder) if name.endswith(".sqlite") and is_sqlite(os.path.join(folder, name))
    )
    if len(found) == 1:
        return StorePlace(DEFAULT, _sqlite(os.path.abspath(os.path.join(folder, found[0]))))
    where = "here" if folder == "." else f"in {folder!r}"
    if found:
        raise ConfigurationError(f"there are several stores {where} ({', '.join(found)}); say which one")
    raise ConfigurationError(f"there is no store (*.sqlite) {where}; give a schedule file, a store, or --store URL")


def to_read(target: str | None, store: str | None) -> list[StorePlace]:
    """The stores that ``schedcore jobs`` and ``schedcore runs`` look at: of a schedule file, or a store itself."""
    from schedcore.cli import files

    if store is not None:
        place = of_option(store)
        if not place.durable:
            raise ConfigurationError(
                f"--store {store}: what is kept in memory is seen by nobody but the process that runs it; "
                f"give the path of an SQLite file, or a URL such as sqlite:///jobs.sqlite"
            )
        return [place]
    if target is None:
        return [find_here()]
    # One that is damaged, or is something else, is to be called so.
    if is_sqlite(target) or (target.lower().endswith(_SUFFIXES) and os.path.isfile(target)):
        return [StorePlace(DEFAULT, _sqlite(os.path.abspath(target)))]
    if "://" in target:
        return [of_option(target)]
    if os.path.isdir(target):
        return [find_here(target)]
    if files.is_toml_file(target):
        places = of_file(files.load(target, stores_do=True))
    else:
        if not os.path.exists(target):
            raise ConfigurationError(f"there is no schedule file and no store {without_password(repr(target))}")
        places = [beside(target)]
    durable = [place for place in places if place.durable]
    if not durable:
        raise ConfigurationError(
            f"the jobs of {target!r} are kept in memory; only the process that runs them sees them"
        )
    return durable


class Reader:
    """A store of another process's, opened to look at. Reading never writes."""

    def __init__(self, place: StorePlace) -> None:
        self.place = place
        self._store: JobStore | None = None

    def __enter__(self) -> Reader:
        place = self.place
        if place.path is not None and not os.path.exists(place.path):
            raise StoreMissingError(
                f"there is no store {short_path(place.path)!r} yet; `schedcore run` makes it when it starts"
            )
        option = f"jobstores.{place.alias}"
        # What its options name in text, such as a serializer, may be in a module beside the schedule.
        with importable(place.folder) if place.folder is not None else nullcontext():
            store = config.build(config.component({**place.options, "read_only": True}, option), plugins.JOBSTORES)
        # A store belongs to a scheduler. This one is never started.
        store.start(BackgroundScheduler(), place.alias)
        self._store = store
        return self

    def __exit__(self, *exc: object) -> None:
        if self._store is not None:
            self._store.shutdown()

    @property
    def _open(self) -> JobStore:
        if self._store is None:
            raise RuntimeError("the store is not open")
        return self._store

    def jobs(self) -> list[JobEntry]:
        """All jobs, by next dispatch."""
        return self._open.list_entries()

    def runs(self, job_id: str | None = None, *, failed: bool = False, limit: int = 100) -> list[RunRecord]:
        """Run records, latest first."""
        return self._open.runs(job_id, failed=failed, limit=limit)


class StoreMissingError(FailureError):
    """There is nothing to look at."""
