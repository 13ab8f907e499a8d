"""`python -m pytest_metalperf COMMAND`: what needs no pytest session; each command is `main` of the room of its name."""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Sequence

COMMANDS = {
    "doctor": "what is wrong with this environment, and the fix",
    "calibrate": "what this machine's noise lets the gate see, measured with A/A sessions",
    "report": "sessions as one page to look at, from their files of --metal-json",
    "bisect": "which commit made training slower, by pairs between revisions",
    "compare": "whether a session is slower than another, by the gate, from their files of --metal-json",
    "history": "since when a workload is slower or faster, from a file of --metal-history",
}


def main(arguments: Sequence[str]) -> int:
    """Run the command that `arguments` name, which is imported only then; its exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m pytest_metalperf",
        usage="%(prog)s COMMAND …",
        epilog="\n".join(
            ["commands (each takes --help):", *(f"  {name:<12}{what}" for name, what in COMMANDS.items())]
        ),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("command", choices=COMMANDS, metavar="COMMAND", help="one of those below")
    command = parser.parse_args(arguments[:1]).command
    try:
        code: int = importlib.import_module(f"{__package__}.{command}.command").main(arguments[1:])
    except KeyboardInterrupt:
        return 130  # as shells have it: 128 + SIGINT
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
