"""Signatures of bundles, as minisign makes and checks them: a fleet runs only what its owner exported.

A signature is of manifest.json, which holds the SHA-256 of every other file, and lies beside it as
manifest.json.minisig. `minisign -Vm manifest.json -p fleet.pub` checks the same. Of a pack
(core/pack.py) targets.json is signed, which holds the SHA-256 of each manifest.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from edgedepth.core.errors import OptionError, OutputError, SignatureError
from edgedepth.core.files import write_file
from edgedepth.core.optional import require
from edgedepth.core.reading import check_plain

__all__ = [
    "SIGNATURE",
    "TRUSTED_KEY_VARIABLE",
    "check_signature",
    "new_key",
    "sign",
    "signature_of",
    "trusted_key_of_environment",
]

_MANIFEST = "manifest.json"
SIGNATURE = f"{_MANIFEST}.minisig"
TRUSTED_KEY_VARIABLE = "EDGEDEPTH_TRUSTED_KEY"
_LIMIT = 64 << 10  # bytes; keys and signatures have some hundred


def trusted_key_of_environment() -> str | None:
    """The public key that this machine trusts, if it trusts one alone: as its line, which other machines can read, too.

    Raises:
        OptionError: EDGEDEPTH_TRUSTED_KEY names no public key.
        MissingExtraError: py-minisign isn't installed.
    """
    key = os.environ.get(TRUSTED_KEY_VARIABLE)
    return str(_public_key(_minisign(), key).to_base64().decode()) if key else None


def signature_of(folder: Path, signed: str = _MANIFEST) -> Path:
    """Where minisign puts the signature of a file."""
    return folder / f"{signed}.minisig"


def check_signature(folder: Path, content: bytes, key: str, *, signed: str = _MANIFEST) -> str:
    """Compare a bundle's signature with a public key.

    Args:
        folder: the bundle's, or the pack's.
        content: the bytes of its manifest.json, as they were read for everything else.
        key: a minisign public key: its file, or the line in it that begins with RW.
        signed: the name of that file; a pack's is another.

    Returns:
        What the signer said of it: minisign's trusted comment.

    Raises:
        SignatureError: no signature, a damaged one, or one of another key or another manifest.
        OptionError: no public key.
        MissingExtraError: py-minisign isn't installed.
    """
    minisign = _minisign()
    public = _public_key(minisign, key)
    path = signature_of(folder, signed)
    sign_it = f"let its owner sign it: edgedepth sign {folder} --secret-key FILE"
    try:
        signature = minisign.Signature.from_bytes(_read(path))
        public.verify(content, signature)
    except FileNotFoundError:
        raise SignatureError(
            f"{folder} is not signed, and only bundles signed with a trusted key may run here", remedy=sign_it
        ) from None
    except OSError as error:
        raise SignatureError(f"{path} can't be read: {error.strerror}", remedy="let this user read it") from error
    except minisign.VerifyError as error:
        raise SignatureError(
            f"{folder} was signed with another key, or changed since: {error}", remedy=f"don't run it; or {sign_it}"
        ) from error
    except ValueError as error:  # ParseError is one, and what base64 and UTF-8 raise
        raise SignatureError(f"{path} is not a minisign signature: {error}", remedy=sign_it) from error
    comment: str = signature.trusted_comment
    return comment


def sign(
    folder: Path, content: bytes, secret_key: Path, *, password: str | None, comment: str, signed: str = _MANIFEST
) -> Path:
    """Sign a bundle's manifest, or a pack's list.

    Args:
        folder: the bundle's, or the pack's.
        content: the bytes of its manifest.json.
        secret_key: a minisign secret key's file.
        password: of the key; None for a key without one.
        comment: what the signature vouches for besides.
        signed: the name of the file that is signed; a pack's is another.

    Returns:
        The signature's path.

    Raises:
        OptionError: no secret key, or a wrong or missing password.
        OutputError: the signature can't be written.
        MissingExtraError: py-minisign isn't installed.
    """
    minisign = _minisign()
    try:
        with minisign.SecretKey.from_bytes(_read(secret_key)) as key:
            if key.is_encrypted():
                if password is None:
                    raise OptionError(
                        f"{secret_key} has a password", remedy="type it when asked, or give --password-file FILE"
                    )
                key.decrypt(password)
            signature = key.sign(content, trusted_comment=comment)
    except OSError as error:
        raise OptionError(
            f"the secret key {secret_key} can't be read: {error.strerror}", remedy="edgedepth sign --new-key FILE"
        ) from error
    except ValueError as error:
        raise OptionError(
            f"{secret_key} can't sign: {error}", remedy="give minisign's secret key, and its password"
        ) from error
    return write_file(signature_of(folder, signed), bytes(signature) + b"\n")


def new_key(path: Path, *, password: str | None) -> Path:
    """Make a key pair: the secret key at `path`, readable by its owner alone, and the public one beside it, as .pub.

    Returns:
        The public key's path.

    Raises:
        OutputError: a file stands there already, or can't be written.
        MissingExtraError: py-minisign isn't installed.
    """
    pair = _minisign().KeyPair.generate()
    public = path.with_name(path.name + ".pub")
    with pair.secret_key as secret:
        if password:
            secret.encrypt(password)
        for place, content, mode in ((path, bytes(secret), 0o600), (public, bytes(pair.public_key), 0o644)):
            try:
                with os.fdopen(os.open(place, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
                    file.write(content + b"\n")
            except OSError as error:
                raise OutputError(
                    f"{place} can't be written: {error.strerror}", remedy="choose a name where nothing stands"
                ) from error
    return public


def _minisign() -> Any:
    return require("minisign", extra="sign", purpose="for signatures")


def _public_key(minisign: Any, key: str) -> Any:
    try:
        if key.startswith("RW") and not Path(key).exists():
            return minisign.PublicKey.from_base64(key)
        return minisign.PublicKey.from_bytes(_read(Path(key)))
    except OSError as error:
        problem = f"the trusted key {key} can't be read: {error.strerror}"
    except ValueError as error:
        problem = f"{key} is not a minisign public key: {error}"
    raise OptionError(problem, remedy="give a minisign public key's file, or the line in it that begins with RW")


def _read(path: Path) -> bytes:
    """A small file's bytes: no more of a large one than shows that it is none, and of a pipe nothing."""
    check_plain(path)
    with path.open("rb") as file:
        return file.read(_LIMIT)
