"""Arguments of the command that are no ASCII. The system gives bytes, and Python makes text of them by the locale; those for
which that has no letters become halves of surrogate pairs, which are in no job's id.
"""

from __future__ import annotations

import os
import sys

import typer

__all__ = ["file_name", "text"]


def text(value: str | None) -> str | None:
    """An argument that is text, such as a job's id: in UTF-8 where the locale has no such letters. Raises ``BadParameter``."""
    if value is None or not _lacks_letters(value):
        return value
    data = os.fsencode(value)
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        shown = data.decode("utf-8", "backslashreplace")
        raise typer.BadParameter(f"byte 0x{data[error.start]:02x} in {shown!r} is not UTF-8") from None


def file_name(value: str | None) -> str | None:
    """The name of a file, or a URL. Raises ``BadParameter`` where no file with such a name can be used."""
    encoding = sys.getfilesystemencoding()
    if value is None or encoding == "utf-8" or not _lacks_letters(value):
        return value
    shown = os.fsencode(value).decode("utf-8", "backslashreplace")
    raise typer.BadParameter(
        f"{shown!r} has letters that names of files cannot have here, where they are in {encoding}; set LC_ALL=C.UTF-8 or "
        f"PYTHONUTF8=1"
    )


def _lacks_letters(value: str) -> bool:
    return any("\udc80" <= letter <= "\udcff" for letter in value)
