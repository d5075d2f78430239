"""The journal of a database that has one (``_journal``): read when the database is opened, and begun anew.

**Which one it is** the database says, by a token in its table of meta data: one of another database, or of another opening of
this one, is none of its. (A copy that was made while it was open has the token of what it became: nobody can tell.) There are two
names: the new journal is made under the one that the last does not have, then its token is committed, then the last is removed.
So, wherever the process is killed, there is the one that the database means.

**When.** What the last scheduler's journal says is put into the database as that is opened. The new one says of each run that it
does not know that it has not begun: so it is begun in the transaction after which no run is in doubt any more. That is the same
one, or, where doubt is left, that of ``recover``. What stays in doubt even then, because its job is broken, it is told.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from schedcore.jobstores._journal import JournalFile, RunKey, look, remove
from schedcore.jobstores._sql_database import Database
from schedcore.jobstores._sql_rows import finish_row
from schedcore.run import Run

__all__ = ["Journal"]

_NOTE = "journal"
#: What a name ends with, and the other one.
_NAMES = "", "2"

_logger = logging.getLogger("schedcore.jobstores")


class Journal:
    """See the module's docstring."""

    def __init__(self, database: Database) -> None:
        #: The one that is being written; None: there is none.
        self.file: JournalFile | None = None
        self._coming: JournalFile | None = None
        self._last = ""  # the path of the last one
        self._database = database

    def read(self, cursor: Any) -> set[RunKey] | None:
        """Put into the database what the last journal says. The runs of which it is not known whether they began; None: of any
        that is not known to have.
        """
        self.close()  # in a forked child, its parent's
        database, sql, path = self._database, self._database.sql, self._database.journal_path
        if not path:
            return None
        cursor.execute(sql.meta, (_NOTE,))
        row = cursor.fetchone()
        noted = "" if row is None else str(row[0])
        doubtful: set[RunKey] | None = None
        self._last = path
        for name in _NAMES:
            found = look(path + name)
            if found is None or not noted or found.token != noted:
                continue
            self._last = path + name
            if found.begun:
                sql.started(cursor, [(at_us, *key) for key, at_us in found.begun.items()])
            if found.ended:
                rows = [finish_row(*end[:3], end.outcome, key) for key, end in found.ended.items()]
                sql.finish(cursor, rows)
            if found.complete:
                doubtful = found.sent - found.begun.keys() - found.ended.keys()
            else:
                _logger.warning(
                    "job store %r: the journal %s does not tell all that began before its scheduler died",
                    database.alias,
                    path + name,
                )
        if doubtful is None and noted:
            database.put_meta(cursor, {_NOTE: ""})
        return doubtful

    def begin(self, cursor: Any, doubtful: Sequence[Run] = ()) -> None:
        """Begin a new one, unless there is one. It is used when the transaction is over, and ``use`` was called.

        ``doubtful``: runs that may have begun.
        """
        path = self._database.journal_path
        if not path or self.file is not None:
            return
        self._give_up()
        token = secrets.token_hex(16)
        name = next(path + name for name in _NAMES if path + name != self._last)
        try:
            self._coming = JournalFile(name, token)
            for run in doubtful:
                self._coming.sent(run)
        except OSError as error:
            token = ""
            _logger.warning(
                "job store %r: there is no journal, and after a crash it is not known which of its last runs began: %s",
                self._database.alias,
                error,
            )
        self._database.put_meta(cursor, {_NOTE: token})

    def use(self) -> None:
        """The transaction is over in which one was begun."""
        coming, self._coming = self._coming, None
        if coming is not None:
            self.file = coming
            with suppress(OSError):  # nobody takes it for the one that the database means
                remove(self._last)

    def close(self) -> None:
        """Let go of it."""
        self._give_up()
        file, self.file = self.file, None
        if file is not None:
            file.close()

    def _give_up(self) -> None:
        coming, self._coming = self._coming, None
        if coming is not None:
            coming.close()
