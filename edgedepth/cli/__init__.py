"""The command line: arguments, progress, tables and exit codes only; each command calls one library function.

Built on argparse: `edgedepth --help` must work where nothing but numpy and OpenCV is installed.
Exit codes: 0 ok, 1 a check failed, 2 the user's mistake.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Sequence

from edgedepth import __version__
from edgedepth.cli.console import note, print_error, show_log
from edgedepth.cli.stopping import exit_code_of
from edgedepth.core.errors import EdgeDepthError

__all__ = ["COMMANDS", "build_parser", "main"]

COMMANDS = (
    "export",
    "build",
    "pack",
    "infer",
    "label",
    "repository",
    "verify",
    "debug",
    "bench",
    "matrix",
    "eval",
    "inspect",
    "report",
    "models",
    "train",
    "rsa",
    "calibrate",
    "store",
    "sign",
    "doctor",
    "demo",
)


def build_parser() -> argparse.ArgumentParser:
    """The parser of all commands; each has a module of its own with SUMMARY, add_arguments and run."""
    parser = argparse.ArgumentParser(
        prog="edgedepth",
        description="Monocular metric depth on the edge, with proof.",
        epilog="Exit codes: 0 ok, 1 a check failed, 2 a mistake that the message tells how to cure.",
    )
    parser.add_argument("--version", action="version", version=f"edgedepth {__version__}")
    commands = parser.add_subparsers(title="commands", dest="command", metavar="COMMAND", required=True)
    for name in COMMANDS:
        module = importlib.import_module(f"edgedepth.cli.{name}_command")
        command = commands.add_parser(
            name,
            help=module.SUMMARY,
            description=module.__doc__,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        module.add_arguments(command)
        command.add_argument("--json", action="store_true", help="print one JSON document on stdout")
        command.add_argument("-v", "--verbose", action="store_true", help="tell more on stderr")
        command.set_defaults(run=module.run)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    args = build_parser().parse_args(words)
    args.words = words  # for commands that name themselves in what they print
    show_log(verbose=args.verbose)
    try:
        return int(args.run(args))
    except EdgeDepthError as error:
        print_error(error, as_json=args.json)
        return error.exit_code
    except KeyboardInterrupt as interruption:
        note("edgedepth: interrupted")
        return exit_code_of(interruption)
    except BrokenPipeError:
        # The reader of our output went away (edgedepth models | head): nothing is wrong, and nothing can be told.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
