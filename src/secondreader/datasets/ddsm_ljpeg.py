"""DDSM's LJPEG: lossless JPEG (process 14, one component) as the Stanford PVRG codec wrote it.

Such a stream is the one that DICOM calls 1.2.840.10008.1.2.4.57, so the decoder that DICOM files go
through decodes it. Two things are DDSM's own: rows and columns in the stream are at times swapped,
where the ``.ics`` is right; and some lossless JPEG of that time start each row from another
prediction than the standard's, which decodes without an error into rows that do not fit each other.
Such a film is refused, never given.
"""

from __future__ import annotations

import struct

import numpy as np

from secondreader.domain import ImageSource, Mammogram, Refused, Step
from secondreader.formats.source import FileRef

__all__ = ["CONVERSION", "header", "mammogram"]

CONVERSION = (
    "unpack it with the Stanford PVRG program (jpeg -d -s FILE), take the values as big-endian "
    "16 bits of LINES x PIXELS_PER_LINE from the .ics, write them unscaled as 16-bit PNG beside it"
)
_SYNTAX = "1.2.840.10008.1.2.4.57"
_SOF3 = 0xC3
_BYTES = 65536  # the header of a stream comes within the first of them


def header(ref: FileRef) -> tuple[int, int, int]:
    """Return (rows, cols, bits) as the stream says, rows and columns perhaps swapped.

    Raises
    ------
    Refused
        ``unsupported`` for anything but lossless JPEG of one component.
    """
    with ref.open() as stream:
        head = stream.read(_BYTES)
    place = 2
    while head[:2] == b"\xff\xd8" and place + 10 <= len(head) and head[place] == 0xFF:
        marker = head[place + 1]
        (length,) = struct.unpack_from(">H", head, place + 2)
        if marker == _SOF3:
            bits, rows, cols, components = struct.unpack_from(">BHHB", head, place + 4)
            if components == 1 and rows and cols:
                return rows, cols, bits
            break
        place += 2 + length
    raise Refused("unsupported", f"got no lossless JPEG of one component; {CONVERSION}")


def mammogram(ref: FileRef, shape: tuple[int, int], bits: int) -> Mammogram:
    """Decode a film.

    Parameters
    ----------
    ref
        The ``.LJPEG`` file.
    shape
        (rows, cols) of the case file, which is right where the stream is not.
    bits
        Of the digitiser; the full range.

    Raises
    ------
    Refused
        If it cannot be decoded, is of another size, or decodes into rows that do not fit.
    """
    rows, cols, _ = header(ref)
    if rows * cols != shape[0] * shape[1]:
        raise Refused("unsupported", f"got {rows} x {cols}, expected {shape[0]} x {shape[1]}")
    values = _decoded(ref, rows, cols).reshape(shape)
    steps = np.abs(np.diff(values.astype(np.int32), axis=0))
    along = np.abs(np.diff(values.astype(np.int32), axis=1))
    if float(np.median(steps)) > 8 * float(np.median(along)) + 8:
        raise Refused("unreadable", f"its rows do not fit each other once decoded; {CONVERSION}")
    full = float(2**bits - 1)
    pixels = np.minimum(values / np.float32(full), 1).astype(np.float32)
    source = ImageSource(
        path=ref.path,
        format="LJPEG",
        bits=bits,
        voi=f"value / {full:g}",
        lossy=False,
        steps=(Step("scale", f"value / {full:g}", ".ics BITS_PER_PIXEL"),),
    )
    return Mammogram(pixels, None, None, None, source)


def _decoded(ref: FileRef, rows: int, cols: int) -> np.ndarray:
    """Put the stream into a DICOM data set and decode that: (rows, cols) uint16."""
    from pydicom import Dataset
    from pydicom.dataset import FileMetaDataset
    from pydicom.encaps import encapsulate
    from pydicom.uid import UID

    with ref.open() as stream:
        content = stream.read()
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = UID(_SYNTAX)
    ds.Rows, ds.Columns, ds.SamplesPerPixel = rows, cols, 1
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 16, 15, 0
    ds.PhotometricInterpretation = "MONOCHROME2"
    ds.PixelData = encapsulate([content])
    ds["PixelData"].is_undefined_length = True
    try:
        values = ds.pixel_array
    except Exception as error:  # any decoder, any damage: one refusal
        told = f"cannot be decoded ({type(error).__name__}); {CONVERSION}"
        raise Refused("unreadable", told) from None
    return np.ascontiguousarray(values, np.uint16)
