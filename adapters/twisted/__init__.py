"""schedcore inside a Twisted program."""
