"""schedcore inside a Qt program."""
