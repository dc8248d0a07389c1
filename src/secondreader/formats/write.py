"""Writing files so that nothing half-written ever stands under a final name."""

from __future__ import annotations

import contextlib
import io
import os
import secrets
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np

from secondreader.domain import SecondReaderError

__all__ = ["atomic_stream", "atomic_write", "png_bytes"]


def png_bytes(pixels: np.ndarray) -> bytes:
    """Encode a picture as PNG; equal arrays give equal bytes.

    Parameters
    ----------
    pixels
        (rows, cols) uint8 or uint16 grey, or (rows, cols, 3 or 4) uint8 RGB or RGBA.

    Raises
    ------
    ValueError
        For any other shape or type.
    """
    from PIL import Image

    grey = pixels.ndim == 2 and pixels.dtype in (np.uint8, np.uint16)
    colour = pixels.ndim == 3 and pixels.shape[2] in (3, 4) and pixels.dtype == np.uint8
    if not (grey or colour) or 0 in pixels.shape:
        raise ValueError(
            f"pixels: got {pixels.dtype} with shape {pixels.shape}, "
            "expected grey uint8 or uint16 (rows, cols), or uint8 (rows, cols, 3 or 4)"
        )
    stream = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(stream, "PNG", compress_level=6)
    return stream.getvalue()


@contextlib.contextmanager
def atomic_stream(path: Path) -> Iterator[BinaryIO]:
    """Open a file that takes its name only once it is written whole.

    The content goes to a temporary file in the same folder, to the disk, and only then takes the
    final name, in place of what stood there; after an error nothing is left.

    Raises
    ------
    SecondReaderError
        If it cannot be written: disk full, read-only, no such folder.
    """
    # Not `tempfile`: its files are private, and the final one should follow the user's umask.
    temporary = path.with_name(f".{path.name[:40]}.{secrets.token_hex(6)}.part")
    try:
        try:
            with temporary.open("xb") as stream:
                yield stream
                stream.flush()
                os.fsync(stream.fileno())
            temporary.replace(path)
        except BaseException:
            with contextlib.suppress(OSError):
                temporary.unlink()
            raise
        _sync_folder(path.parent)
    except OSError as error:
        raise SecondReaderError(
            f"cannot write {path} ({error.strerror}); expected a writable folder with room"
        ) from None


def atomic_write(path: Path, content: bytes | str | Iterable[str]) -> None:
    """Write a file whole or not at all; text as UTF-8, an iterable piece by piece.

    Raises
    ------
    SecondReaderError
        As for `atomic_stream`.
    """
    pieces = [content] if isinstance(content, bytes | str) else content
    with atomic_stream(path) as stream:
        for piece in pieces:
            stream.write(
                piece.encode("utf-8", "backslashreplace") if isinstance(piece, str) else piece
            )


def _sync_folder(folder: Path) -> None:
    """Make the new name itself last through a power cut, where the system can (not on Windows)."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
