"""Sign a bundle, so that a fleet runs only what its owner exported; keys and signatures are minisign's.

    edgedepth sign --new-key fleet.key
    edgedepth sign BUNDLE --secret-key fleet.key

The signature lies in the bundle, as manifest.json.minisig. A machine where EDGEDEPTH_TRUSTED_KEY names fleet.key.pub
runs no other bundle; `edgedepth verify BUNDLE --key fleet.key.pub` checks one.
"""

from __future__ import annotations

import argparse
import datetime
import getpass
import sys
from pathlib import Path

from edgedepth.cli.console import print_json
from edgedepth.core.bundle import TARGETS, Bundle, manifest_bytes, open_bundle
from edgedepth.core.errors import OptionError
from edgedepth.core.pack import index_bytes, is_pack, open_pack
from edgedepth.core.signing import TRUSTED_KEY_VARIABLE, new_key, sign

__all__ = ["SUMMARY", "add_arguments", "run"]

SUMMARY = "sign a bundle with a minisign key"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument(
        "bundle", type=Path, nargs="?", help="a bundle's folder, or a pack's: then its bundles are signed as well"
    )
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--secret-key", type=Path, metavar="FILE", help="minisign's secret key, to sign with")
    what.add_argument("--new-key", type=Path, metavar="FILE", help="make a key pair: FILE and FILE.pub")
    secret = parser.add_mutually_exclusive_group()
    secret.add_argument("--password-file", type=Path, metavar="FILE", help="the key's password, instead of typing it")
    secret.add_argument("--no-password", action="store_true", help="the key has none, or shall have none")


def run(args: argparse.Namespace) -> int:
    """Sign, or make a key, and tell."""
    if args.new_key:
        if args.bundle:
            raise OptionError(
                "--new-key makes a key and signs nothing", remedy="sign in a second step: --secret-key FILE"
            )
        public = new_key(args.new_key, password=_password(args, twice=True))
        facts = {"secret_key": str(args.new_key), "public_key": str(public)}
        told = f"{args.new_key}: keep it secret\n{public}: for {TRUSTED_KEY_VARIABLE} on every machine of the fleet"
    else:
        facts = _sign(args)
        told = f"signed: {facts['signature']} ({facts['comment']})"
    if args.json:
        print_json(facts)
    else:
        print(told)
    return 0


def _sign(args: argparse.Namespace) -> dict[str, str]:
    if not args.bundle:
        raise OptionError("no bundle was named", remedy="edgedepth sign BUNDLE --secret-key FILE")
    if not is_pack(args.bundle):
        return _sign_bundle(open_bundle(args.bundle), args.secret_key, _password(args, twice=False))
    pack = open_pack(args.bundle)
    opened = [pack.bundle(name) for name in pack.manifests]
    password = _password(args, twice=False)
    for bundle in opened:  # each may be opened by itself
        _sign_bundle(bundle, args.secret_key, password)
    comment = f"edgedepth {opened[0].manifest.model.name}, pack of {', '.join(pack.manifests)}, signed {_now()}"
    content = index_bytes(pack.path)
    path = sign(pack.path, content, args.secret_key, password=password, comment=comment, signed=TARGETS)
    return {"signature": str(path), "comment": comment}


def _sign_bundle(bundle: Bundle, secret_key: Path, password: str | None) -> dict[str, str]:
    """The bundle is whole and unchanged: a signature vouches for what it holds."""
    manifest = bundle.manifest
    comment = f"edgedepth {manifest.model.name} {manifest.target} {manifest.precision}, signed {_now()}"
    path = sign(bundle.path, manifest_bytes(bundle.path), secret_key, password=password, comment=comment)
    return {"signature": str(path), "comment": comment}


def _now() -> str:
    return datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def _password(args: argparse.Namespace, *, twice: bool) -> str | None:
    """The key's password: none, out of a file, or typed."""
    if args.no_password:
        return None
    if args.password_file:
        try:
            lines = args.password_file.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise OptionError(
                f"{args.password_file} can't be read: {error}", remedy="name a text file with the password"
            ) from error
        return str(lines[0]) if lines else None
    if not sys.stdin.isatty():
        raise OptionError(
            "nobody is there to type the key's password",
            remedy="--password-file FILE, or --no-password for a key without",
        )
    typed = getpass.getpass("password of the key (empty: none): ")
    if twice and typed != getpass.getpass("once more: "):
        raise OptionError("the two passwords differ", remedy="try again")
    return typed or None
