"""``python -m ndring``: tools for people."""
from __future__ import annotations

import argparse
import sys
from typing import List, Optional

from . import __version__

from . import _import


def main(arguments: Optional[List[str]] = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m ndring", description="What you store is exactly what you get back.")
    parser.add_argument("--version", action="version", version=f"ndring {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    _import.add_arguments(commands.add_parser("import", help="copy arrays out of a Redis", description=_import.DESCRIPTION))
    options = parser.parse_args(arguments)
    if options.command is None:
        parser.print_help()
        return 0
    return _import.run(options)


if __name__ == "__main__":
    sys.exit(main())
