"""PGM, binary (P5) and ASCII (P2), by its specification (netpbm.sourceforge.net/doc/pgm.html).

Not Pillow's reader: it stretches the values of 10- to 14-bit files to 16 bits.
"""

from __future__ import annotations

import re
import warnings
from typing import BinaryIO

import numpy as np

from secondreader.domain import Refused
from secondreader.formats.source import MAX_PIXELS

__all__ = ["read_pgm"]

_HEADER = 65_536
_GAP = rb"(?:\s|#[^\n\r]*[\n\r])+"  # white space, and comments up to the end of their line
_FIELDS = re.compile(rb"P([1-7])" + (_GAP + rb"(-?\d+)") * 3 + rb"(?:\s*#[^\n\r]*[\n\r]|\s)")


def read_pgm(stream: BinaryIO) -> tuple[np.ndarray, str]:
    """Read the stored values of a PGM.

    Parameters
    ----------
    stream
        At its start.

    Returns
    -------
    (numpy.ndarray, str)
        (rows, cols) uint8 or uint16, and what the header says, in words.

    Raises
    ------
    Refused
        ``bad-header``, ``too-large``, ``truncated``, ``colour``, ``too-few-bits``, ``several``.
    """
    head = stream.read(_HEADER)
    kind = head[1:2]
    if kind in (b"1", b"4"):
        raise Refused("too-few-bits", "a PBM of 1 bit; expected 8 to 16")
    if kind in (b"3", b"6"):
        raise Refused("colour", "a PPM in colour; expected grey (PGM)")
    match = _FIELDS.match(head)
    if match is None:
        raise Refused("bad-header", "a PGM without width, height and maximum in its header")
    cols, rows, largest = (int(number) for number in match.groups()[1:])
    if rows < 1 or cols < 1:
        raise Refused("bad-header", f"got {rows} rows and {cols} columns, expected at least one")
    if not 1 <= largest <= 65_535:
        raise Refused("bad-header", f"got a maximum of {largest}, expected 1 to 65535")
    if largest == 1:
        raise Refused("too-few-bits", "a PGM of 1 bit; expected 8 to 16")
    if rows * cols > MAX_PIXELS:
        raise Refused("too-large", f"got {rows} x {cols} pixels, expected at most {MAX_PIXELS}")
    stream.seek(match.end())
    read = _ascii if kind == b"2" else _binary
    pixels = read(stream, rows * cols, largest).reshape(rows, cols)
    if pixels.max() > largest:
        raise Refused("bad-header", "values above the maximum that the header states")
    return pixels, f"PGM ({'ASCII' if kind == b'2' else 'binary'}), stated maximum {largest}"


def _binary(stream: BinaryIO, count: int, largest: int) -> np.ndarray:
    dtype = np.dtype(">u2" if largest > 255 else "u1")
    data = stream.read(count * dtype.itemsize)
    if len(data) < count * dtype.itemsize:
        raise Refused("truncated", f"got {len(data)} bytes, expected {count * dtype.itemsize}")
    if re.match(rb"\s*P5\s", stream.read(8)):
        raise Refused("several", "several pictures in one PGM; expected one a file")
    return np.frombuffer(data, dtype).astype(dtype.newbyteorder("="), copy=False)


def _ascii(stream: BinaryIO, count: int, largest: int) -> np.ndarray:
    text = stream.read(count * 32 + _HEADER)  # numbers of up to 5 digits, with room for spaces
    if b"#" in text:
        text = re.sub(rb"#[^\n\r]*", b"", text)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            values = np.fromstring(text.decode("ascii"), np.int64, sep=" ")[:count]
    except (ValueError, DeprecationWarning):
        raise Refused("truncated", "ends early, or holds what is no number") from None
    if len(values) < count:
        raise Refused("truncated", f"got {len(values)} values, expected {count}")
    if values.min() < 0 or values.max() > largest:
        raise Refused("bad-header", "values outside 0 to the maximum that the header states")
    return values.astype(np.uint16 if largest > 255 else np.uint8)
