"""Adapters: one package for each framework, alike in layout and names: a wakeup, an executor and a scheduler.

Nothing here is imported by the core, and no adapter imports another's framework.
"""

__all__: list[str] = []
