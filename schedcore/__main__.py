"""``python -m schedcore`` is the command ``schedcore``."""

from __future__ import annotations

from schedcore.cli.main import main

if __name__ == "__main__":
    main()
