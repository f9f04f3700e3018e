"""Write docs/reference from docstrings and from the command line's own arguments; --check tells if it is stale.

Run by `make docs` and `make check`.
"""

from __future__ import annotations

import argparse
import inspect
import re
import sys
from pathlib import Path

import edgedepth
from edgedepth.cli import build_parser
from edgedepth.core import errors

__all__ = ["main"]

FOLDER = Path(__file__).parent / "reference"
HEADER = "<!-- Written by docs/make_reference.py; edit the docstrings instead. -->\n\n"


def main(argv: list[str] | None = None) -> int:
    """Write the pages, or compare them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if a page is stale")
    check = parser.parse_args(argv).check
    stale = []
    for name, text in {"cli.md": cli_page(), "api.md": api_page(), "errors.md": errors_page()}.items():
        path = FOLDER / name
        if path.is_file() and path.read_text(encoding="utf-8") == text:
            continue
        stale.append(name)
        if not check:
            FOLDER.mkdir(exist_ok=True)
            path.write_text(text, encoding="utf-8")
    if check and stale:
        sys.stderr.write(f"docs/reference is stale: {', '.join(stale)}; run `make docs`\n")
        return 1
    return 0


def cli_page() -> str:
    """Every command with its arguments. Not argparse's own layout, which changes from Python to Python."""
    parts = [HEADER, "# The command line\n\n", f"{build_parser().description} {build_parser().epilog}\n"]
    for name, command in _commands(build_parser()).items():
        parts.append(f"\n## edgedepth {name}\n\n```text\n{inspect.cleandoc(command.description or '')}\n```\n\n")
        parts.append("| argument | meaning |\n|---|---|\n")
        parts += [_row(action) for action in command._actions if action.dest != "help"]
    return "".join(parts)


def _commands(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    actions = (action for action in parser._actions if isinstance(action, argparse._SubParsersAction))
    return dict(next(actions).choices)


def _row(action: argparse.Action) -> str:
    names = ", ".join(f"`{name}`" for name in action.option_strings) or f"`{action.metavar or action.dest}`"
    if action.choices is not None:
        names += " " + " \\| ".join(str(choice) for choice in action.choices)
    elif action.option_strings and action.nargs != 0:
        names += f" {action.metavar or action.dest.upper()}"
    meaning = (action.help or "") % {"default": action.default}
    return f"| {names} | {meaning} |\n"


def api_page() -> str:
    """The public names of the package, with their docstrings."""
    parts = [HEADER, "# The Python interface\n\n```python\n", inspect.cleandoc(edgedepth.__doc__ or ""), "\n```\n"]
    for name in sorted(set(edgedepth.__all__) - {"__version__"}):
        parts.append(_described(name, getattr(edgedepth, name), level=2))
    return "".join(parts)


def _described(name: str, thing: object, *, level: int) -> str:
    heading = f"\n{'#' * level} {name}\n\n"
    signature = ""
    if callable(thing) and not (inspect.isclass(thing) and issubclass(thing, Exception)):
        # A default that is a function shows its address, which is another in every process.
        plain = re.sub(r"<function (\w+) at 0x[0-9a-f]+>", r"\1", str(inspect.signature(thing)))
        signature = f"{name.rpartition('.')[2]}{plain}\n\n"
    text = f"{heading}```text\n{signature}{inspect.getdoc(thing)}\n```\n"
    if inspect.isclass(thing):
        for method, value in vars(thing).items():
            if not method.startswith("_") and callable(value):
                text += _described(f"{name}.{method}", value, level=level + 1)
    return text


def errors_page() -> str:
    """The tree of errors."""
    text = inspect.cleandoc(errors.__doc__ or "")
    return f"{HEADER}# Errors\n\nEach carries `problem`, `remedy` and `exit_code`.\n\n```text\n{text}\n```\n"


if __name__ == "__main__":
    sys.exit(main())
