"""The only place that opens or writes image files: what is accepted, what is refused and why.

What a file is, its content tells, not its name. Decoders are imported when first needed.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import PurePath

from secondreader.domain import Mammogram, Refused, Step
from secondreader.formats.content import HEAD, neither, raster_format
from secondreader.formats.find import find
from secondreader.formats.inspection import ACCEPTABLE, Inspection, inspected
from secondreader.formats.jpegls import jpegls_bytes, jpegls_pixels
from secondreader.formats.names import Name, data_set_name
from secondreader.formats.source import MAX_PIXELS, FileRef, Header, ReadOptions, Skipped
from secondreader.formats.table import Row, Table, read_table, unmatched
from secondreader.formats.write import atomic_stream, atomic_write, png_bytes

__all__ = [
    "ACCEPTABLE",
    "MAX_PIXELS",
    "FileRef",
    "Header",
    "Inspection",
    "ReadOptions",
    "Row",
    "Skipped",
    "Table",
    "atomic_stream",
    "atomic_write",
    "find",
    "header",
    "inspect",
    "jpegls_bytes",
    "jpegls_pixels",
    "mammogram",
    "png_bytes",
    "read_table",
    "unmatched",
]


def header(ref: FileRef, options: ReadOptions) -> Header:
    """Return what grouping into exams needs of a file; no pixels are read.

    Raises
    ------
    Refused
        If it is no image, or one that is not read.
    """
    with ref.open() as stream:
        head = stream.read(HEAD)
        stream.seek(0)
        if raster_format(head):
            from secondreader.formats import raster

            return raster.header(ref, options)
        from secondreader.formats import dicom

        if not head or not dicom.is_dicom(stream):
            raise neither(head, ref.path)
        stream.seek(0)
        found = dicom.header(stream, ref)
        name = _named(ref, found)
        if name is None:
            return found
        laterality, view = found.laterality or name.laterality, found.view or name.view
        return replace(found, laterality=laterality, view=view)


def mammogram(ref: FileRef, options: ReadOptions) -> Mammogram:
    """Decode a file.

    Returns
    -------
    Mammogram
        ``source.steps`` tells every step from stored values to it.

    Raises
    ------
    Refused
        If it is no image, or one that is not read.
    """
    with ref.open() as stream:
        head = stream.read(HEAD)
        stream.seek(0)
        kind = raster_format(head)
        if kind:
            from secondreader.formats import raster

            return raster.mammogram(stream, ref, options, kind)
        from secondreader.formats import dicom

        if not head or not dicom.is_dicom(stream):
            raise neither(head, ref.path)
        stream.seek(0)
        decoded = dicom.mammogram(stream, ref, options)
        name = _named(ref, decoded)
        if name is None:
            return decoded
        laterality, view = decoded.laterality or name.laterality, decoded.view or name.view
        words = f"the file does not state all: {laterality} {view}"
        steps = (*decoded.source.steps, Step("name", words, name.rule))
        source = replace(decoded.source, steps=steps)
        return replace(decoded, laterality=laterality, view=view, source=source)


def _named(ref: FileRef, stated: Header | Mammogram) -> Name | None:
    """Return what the name says of a DICOM of INbreast or CBIS-DDSM, which leave out the view.

    The name never overrules the file: ``None`` where the two differ, or nothing is left to say.
    """
    if stated.laterality and stated.view:
        return None
    name = data_set_name(ref.path, PurePath(ref.root).name)
    if name is None or (stated.laterality or name.laterality) != name.laterality:
        return None
    return name if (stated.view or name.view) == name.view else None


def inspect(ref: FileRef, options: ReadOptions, identifiers: bool = False) -> Inspection:
    """Tell every step from stored values to the mammogram, and each reason to refuse it.

    Parameters
    ----------
    ref
        The file.
    options
        What was asked of reading it.
    identifiers
        Tell patient, exam and DICOM instance ids too.
    """
    found: Header | None = None
    if identifiers:
        try:
            found = header(ref, options)
        except Refused:
            found = None  # the reason comes from `mammogram`, with all others
    return inspected(ref, options, mammogram, found)
