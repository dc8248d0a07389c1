"""DICOM mammograms: opened, checked, decoded, and brought to [0, 1] step by step.

Decoders are pydicom's, with pylibjpeg-openjpeg (JPEG 2000, HTJ2K), pylibjpeg-rle, python-gdcm (JPEG
of all kinds) and pyjpegls.
"""

from __future__ import annotations

import hashlib
import struct
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

import numpy as np
import pydicom
from pydicom import Dataset
from pydicom.errors import InvalidDicomError
from pydicom.uid import UID

from secondreader.domain import ImageSource, Intent, Mammogram, Refused, Step
from secondreader.formats.dicom_refuse import refuse
from secondreader.formats.dicom_spacing import spacing_of
from secondreader.formats.dicom_values import for_presentation, for_processing, padding
from secondreader.formats.dicom_view import laterality_of, refuse_contradictions, view_of
from secondreader.formats.source import MAX_PIXELS, MIN_SIDE, FileRef, Header, ReadOptions

__all__ = ["header", "is_dicom", "mammogram"]

_LOSSY = frozenset(f"1.2.840.10008.1.2.4.{last}" for last in ("50", "51", "81", "91", "203"))
_FEWEST_BITS = 8
_INTENTS = {
    "FOR PRESENTATION": Intent.FOR_PRESENTATION,
    "FOR PROCESSING": Intent.FOR_PROCESSING,
}


def is_dicom(stream: BinaryIO) -> bool:
    """Say whether a stream holds DICOM, with or without its preamble; its position moves."""
    head = stream.read(132)
    if head[128:132] == b"DICM":
        return True
    if len(head) < 8:
        return False
    # Without a preamble the first element is of group 2 or 8, little or big endian, and small.
    for order in "<>":
        group, element = struct.unpack(f"{order}HH", head[:4])
        (length,) = struct.unpack(f"{order}I", head[4:8])
        explicit = head[4:6].isalpha() and head[4:6].isupper()
        if group in (0x0002, 0x0008) and element <= 0x0070 and (explicit or length <= 256):
            return True
    return False


def header(stream: BinaryIO, ref: FileRef) -> Header:
    """Return what grouping needs of a file, no pixels read.

    Raises
    ------
    Refused
        If it cannot be parsed.
    """
    ds = _dataset(stream, pixels=False)
    with _sense():
        study = _text(ds, "StudyInstanceUID")
        return Header(
            exam_id=study or ref.path,
            patient_id=_text(ds, "PatientID"),
            study_uid=study,
            sop_uid=_text(ds, "SOPInstanceUID"),
            laterality=laterality_of(ds)[0],
            view=view_of(ds)[0],
        )


def mammogram(stream: BinaryIO, ref: FileRef, options: ReadOptions) -> Mammogram:
    """Decode a file and bring it to [0, 1], larger = denser.

    Parameters
    ----------
    stream
        At its start, seekable.
    ref
        The file.
    options
        What the user accepts and states.

    Raises
    ------
    Refused
        With the code of the reason.
    """
    ds = _dataset(stream, pixels=True)
    with _sense():
        return _mammogram(ds, ref, options)


@contextmanager
def _sense() -> Iterator[None]:
    """Refuse a header that breaks its reader: pydicom parses elements when they are first used."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # pydicom's own quote values, which may be a person's
            yield
    except (Refused, MemoryError):
        raise
    except Exception as error:
        raise Refused(
            "bad-header", f"the header makes no sense ({type(error).__name__} while reading it)"
        ) from None


def _mammogram(ds: Dataset, ref: FileRef, options: ReadOptions) -> Mammogram:
    refuse(ds, options.accept)
    _check_header(ds)
    stored, steps = _decoded(ds)
    padded = padding(ds, stored)
    if stored.min() == stored.max():
        raise Refused("blank", "every pixel has one value: no image")
    intent = _INTENTS.get(str(ds.get("PresentationIntentType", "") or "").upper())
    convert = for_processing if intent is Intent.FOR_PROCESSING else for_presentation
    pixels, voi, more = convert(ds, stored, padded)
    laterality, said_side = laterality_of(ds)
    view, said_view = view_of(ds)
    spacing, said_spacing = spacing_of(ds)
    if spacing is None and options.spacing_mm is not None:
        spacing = (options.spacing_mm, options.spacing_mm)
        said_spacing = Step("spacing", f"{options.spacing_mm:g} mm", "--spacing-mm")
    steps += [*more, said_side, said_view, said_spacing]
    if "contradiction" not in options.accept:
        steps.append(refuse_contradictions(ds, laterality, view, pixels))
    source = ImageSource(
        path=ref.path,
        format="DICOM",
        study_uid=_text(ds, "StudyInstanceUID"),
        series_uid=_text(ds, "SeriesInstanceUID"),
        sop_uid=_text(ds, "SOPInstanceUID"),
        vendor=_text(ds, "Manufacturer"),
        model=_text(ds, "ManufacturerModelName"),
        intent=intent,
        bits=int(ds.BitsStored),
        voi=voi,
        lossy=_is_lossy(ds),
        sha256=hashlib.sha256(stored.tobytes()).hexdigest(),
        steps=tuple(steps),
    )
    return Mammogram(pixels, spacing, laterality, view, source)


def _dataset(stream: BinaryIO, *, pixels: bool) -> Dataset:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # odd values in tags we do not use are not the user's worry
        try:
            ds = pydicom.dcmread(stream, stop_before_pixels=not pixels, force=True)
        except (InvalidDicomError, EOFError):
            raise Refused("truncated", "the file ends in the middle of its header") from None
        except Refused:
            raise
        except Exception as error:
            raise Refused(
                "unreadable", f"the header cannot be parsed ({type(error).__name__})"
            ) from None
    if not ds:
        raise Refused("unreadable", "the file begins like DICOM but holds no element")
    return ds


def _text(ds: Dataset, name: str) -> str | None:
    return str(ds.get(name, "") or "").strip() or None


def _check_header(ds: Dataset) -> None:
    """Refuse what cannot be an image before anything of its size is allocated."""
    if "PixelData" not in ds:
        raise Refused("no-pixels", "the file holds no pixel data")
    rows, cols = int(ds.get("Rows") or 0), int(ds.get("Columns") or 0)
    if rows < 1 or cols < 1:
        raise Refused("bad-header", f"got {rows} x {cols} pixels, expected an image")
    if rows * cols > MAX_PIXELS:
        raise Refused(
            "too-large", f"got {rows} x {cols} pixels, expected {MAX_PIXELS:,} or fewer in all"
        )
    if min(rows, cols) < MIN_SIDE:
        raise Refused("too-small", f"got {rows} x {cols} pixels, expected {MIN_SIDE} or more each")
    if int(ds.get("SamplesPerPixel") or 1) != 1 or not str(
        ds.get("PhotometricInterpretation", "")
    ).startswith("MONOCHROME"):
        raise Refused("colour", "got a colour image, expected MONOCHROME1 or MONOCHROME2")
    bits, allocated = int(ds.get("BitsStored") or 0), int(ds.get("BitsAllocated") or 0)
    if not _FEWEST_BITS <= bits <= 16 or allocated not in (8, 16) or bits > allocated:
        raise Refused(
            "bad-header",
            f"got {bits} bits stored in {allocated}, expected 8 to 16 in 8 or 16",
        )
    if not UID(ds.file_meta.get("TransferSyntaxUID", "")).is_encapsulated:
        needed = rows * cols * allocated // 8 * int(ds.get("NumberOfFrames") or 1)
        if len(ds.PixelData) < needed:
            raise Refused(
                "truncated", f"got {len(ds.PixelData):,} bytes of pixels, expected {needed:,}"
            )


def _decoded(ds: Dataset) -> tuple[np.ndarray, list[Step]]:
    """Return the stored values (rows, cols), bits above BitsStored cut off."""
    syntax = UID(ds.file_meta.get("TransferSyntaxUID", "1.2.840.10008.1.2"))
    frames = int(ds.get("NumberOfFrames") or 1)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from pydicom.pixels.utils import pixel_array

            stored = pixel_array(ds, index=frames // 2 if frames > 1 else None, raw=True)
    except MemoryError:
        raise Refused("too-large", "the image does not fit into memory") from None
    except Exception as error:
        name = syntax.name if syntax.is_transfer_syntax else "an unknown transfer syntax"
        raise Refused(
            "unreadable", f"the pixels cannot be decoded ({name}; {type(error).__name__})"
        ) from None
    bits = int(ds.BitsStored)
    if int(ds.PixelRepresentation) == 0:
        stored = stored & (2**bits - 1)  # old files keep overlays in the bits above
    else:
        shift = stored.dtype.itemsize * 8 - bits
        stored = (stored << shift) >> shift
    steps = [Step("transfer syntax", syntax.name, "TransferSyntaxUID (0002,0010)")]
    if frames > 1:
        steps.append(Step("frame", f"number {frames // 2 + 1} of {frames}", "NumberOfFrames"))
    span = (float(stored.min()), float(stored.max()))
    steps.append(Step("stored values", f"{bits} bits", "BitsStored (0028,0101)", span, span))
    return stored, steps


def _is_lossy(ds: Dataset) -> bool:
    declared = str(ds.get("LossyImageCompression", "") or "").strip() == "01"
    return declared or str(ds.file_meta.get("TransferSyntaxUID", "")) in _LOSSY
