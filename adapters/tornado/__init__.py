"""schedcore inside a Tornado program."""
