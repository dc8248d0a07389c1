"""Keyed hashes in place of ids and paths, so that a reading can leave the house.

HMAC-SHA256 under a key that the user keeps: whoever holds the key can say which pseudonym a known
id has; without it, trying ids out leads nowhere.
"""

from __future__ import annotations

import hmac
import secrets
from pathlib import Path

from secondreader.domain import SecondReaderError

__all__ = ["pseudonym", "pseudonym_path", "secret_from"]

_LEAST_BYTES = 16


def pseudonym(secret: bytes, identifier: str) -> str:
    """Return 16 hexadecimal digits that stand for an id under a key."""
    return hmac.new(secret, identifier.encode("utf-8", "backslashreplace"), "sha256").hexdigest()[
        :16
    ]


def pseudonym_path(secret: bytes, path: str) -> str:
    """Return a path whose every part may hold an id: hashed whole, its known suffix kept."""
    suffix = Path(path).suffix.lower()
    known = suffix if suffix in (".dcm", ".png", ".pgm", ".tif", ".tiff", ".jpg", ".jpeg") else ""
    return pseudonym(secret, path) + known


def secret_from(key_file: Path, out: Path) -> bytes:
    """Read the key of pseudonyms; a file that does not exist is made, readable by its owner only.

    Raises
    ------
    SecondReaderError
        If the key lies in the output, which would give it away, is short, or cannot be read.
    """
    if key_file.resolve().is_relative_to(out.resolve()):
        raise SecondReaderError(
            f"--pseudonymise: got a key inside the output, expected it elsewhere: {key_file}"
        )
    try:
        if not key_file.exists():
            key_file.touch(mode=0o600)
            key_file.write_text(secrets.token_hex(32) + "\n", encoding="ascii")
        secret = key_file.read_bytes().strip()
    except OSError as error:
        raise SecondReaderError(f"--pseudonymise: {error.strerror}: {key_file}") from None
    if len(secret) < _LEAST_BYTES:
        raise SecondReaderError(
            f"--pseudonymise: got a key of {len(secret)} bytes, expected {_LEAST_BYTES} or more: "
            f"{key_file}"
        )
    return secret
