"""The same without ``lazy-apps``: this is loaded once, before the fork, and ``begin`` is called in each process after it."""

from app import application, begin
from uwsgidecorators import postfork

__all__ = ["application"]

postfork(begin)
