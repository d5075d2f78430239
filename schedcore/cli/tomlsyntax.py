"""What ``tomllib`` says of a text that is no TOML: where that is, and what would be right."""

from __future__ import annotations

import re

from schedcore.errors import FileSyntaxError

__all__ = ["syntax_error"]

_PLACE = re.compile(r" \(at (?:line (?P<line>\d+), column (?P<column>\d+)|end of document)\)$")
_ADVICE = (
    ("Invalid value", 'text needs quotes: key = "text"'),
    ("Expected '=' after", "write key = value; a key with other characters than A-Z a-z 0-9 _ - needs quotes"),
    ("Cannot overwrite", "a key can be given only once in a table"),
    ("Cannot declare", "each table is written once; a list of tables is written [[jobs]]"),
    (
        "Illegal character '\\n'",
        "a text in single quotes ends on its line; one of several lines is written in triple quotes",
    ),
    ("Unescaped '\\' in a string", "write \\\\ for a backslash, or put the text into single quotes"),
    ("Expected newline or end", "each key = value stands on a line of its own"),
    (
        "Found invalid character '\\n'",
        "a text in single quotes ends on its line; one of several lines is written in triple quotes",
    ),
    ("Illegal character", "write it as \\uXXXX in double quotes, or leave it out"),
    ("Found invalid character", "write it as \\uXXXX in double quotes, or leave it out"),
    ("Escaped character is not", "write the letter itself"),
    ('Expected "', "close the text with the quotes that it begins with"),
    ("Unterminated string", "close the text with the quotes that it begins with"),
    ("Invalid date or datetime", "give one that the calendar has, such as 2030-01-31T06:00:00"),
    ("Cannot mutate", "a table in { } is complete; write what is missing into it"),
    ("Unclosed array", "close it with ], and put a comma between two values"),
    ("Unclosed inline table", "close it with }, on the same line, and put a comma between two values"),
    ("Invalid statement", "a line is key = value, [table], [[list of tables]] or a # comment"),
    (
        "Invalid initial character for a key",
        "a key is made of A-Z a-z 0-9 _ -, or in quotes; a table in { } stands on one line, with no comma at its end",
    ),
)


# How it says that a text is not closed, and what that begins with.
_UNCLOSED = (("Expected \"'''\"", "'''"), ('Expected "\'"', "'"), ("Unterminated string", '"'))


def _opening(text: str, message: str) -> tuple[int, int] | None:
    """Where the text begins that ends nowhere, if it is that: ``tomllib`` names the end of the file."""
    quotes = next((quotes for start, quotes in _UNCLOSED if message.startswith(start)), None)
    if quotes is None:
        return None
    if quotes == '"' and text.count('"""') % 2:
        quotes = '"""'
    at = text.rfind(quotes)
    return text.count("\n", 0, at) + 1, at - text.rfind("\n", 0, at)


def syntax_error(text: str, path: str, message: str) -> FileSyntaxError:
    """The error for what ``tomllib`` has said of ``text``."""
    match = _PLACE.search(message)
    lines = text.replace("\r\n", "\n").split("\n")
    line, column = len(lines), len(lines[-1]) + 1
    if match is not None:
        message = message[: match.start()]
        if match["line"]:
            line, column = int(match["line"]), int(match["column"])
        else:
            line, column = _opening("\n".join(lines), message) or (line, column)
    advice = next((advice for start, advice in _ADVICE if message.startswith(start)), "")
    return FileSyntaxError(path, line, column, f"not valid TOML: {message}{advice and '; ' + advice}")
