"""Mutants that no test can kill, since nothing that a user could see depends on them: file, line, changed line, reason."""

EQUIVALENT: dict[tuple[str, str, str], str] = {}
