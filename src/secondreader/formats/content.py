"""What a file is, told by its first bytes and never by its name."""

from __future__ import annotations

from pathlib import PurePosixPath

from secondreader.domain import Refused
from secondreader.formats.archive import ZIP_MAGIC

__all__ = ["HEAD", "neither", "raster_format"]

HEAD = 512
"""The number of bytes that tell."""

_RASTERS = {
    b"\x89PNG\r\n\x1a\n": "PNG",
    b"\xff\xd8\xff": "JPEG",
    b"II*\0": "TIFF",
    b"MM\0*": "TIFF",
    b"II+\0": "TIFF",
    b"MM\0+": "TIFF",
}
_PICTURES = {
    b"BM": "a BMP picture",
    b"GIF8": "a GIF picture",
    b"\0\0\0\x0cjP  ": "a JPEG 2000 picture",
    b"\xff\x4f\xff\x51": "a JPEG 2000 codestream",
    b"RIFF": "a RIFF file (WebP?)",
    b"8BPS": "a Photoshop picture",
    b"\x93NUMPY": "a NumPy array",
    b"\x89HDF": "an HDF5 file",
    b"%PDF": "a PDF document",
}
_ARCHIVES = {
    b"\x1f\x8b": "gzip",
    b"7z\xbc\xaf\x27\x1c": "7z",
    b"Rar!": "RAR",
    b"\xfd7zXZ": "xz",
    b"BZh": "bzip2",
    b"\x28\xb5\x2f\xfd": "zstd",
}


def raster_format(head: bytes) -> str | None:
    """Return ``"PNG"``, ``"JPEG"``, ``"TIFF"`` or ``"PNM"``; ``None`` for anything else."""
    if (
        head[:1] == b"P"
        and head[1:2] in b"123456"
        and head[2:3] in (b" ", b"\t", b"\n", b"\r", b"#")
    ):
        return "PNM"
    return next((name for magic, name in _RASTERS.items() if head.startswith(magic)), None)


def neither(head: bytes, path: str) -> Refused:
    """Return why a file is not read that is neither DICOM nor a raster."""
    expected = "expected DICOM, PNG, PGM, TIFF or JPEG"
    if not head:
        return Refused("empty", "an empty file, got 0 bytes")
    if head[:4] in ZIP_MAGIC:
        return Refused("nested-zip", "a ZIP in a ZIP; unpack it first")
    packed = next((name for magic, name in _ARCHIVES.items() if head.startswith(magic)), None)
    if head[257:262] == b"ustar":
        packed = "tar"
    if packed:
        return Refused("unsupported", f"a {packed} archive; unpack it first, or pack it as ZIP")
    picture = next((name for magic, name in _PICTURES.items() if head.startswith(magic)), None)
    if picture:
        return Refused("unsupported", f"{picture}; {expected}")
    suffix = PurePosixPath(path).suffix.lower()
    if suffix in (".dcm", ".dicom", ".png", ".pgm", ".tif", ".tiff", ".jpg", ".jpeg"):
        return Refused("not-an-image", f"named {suffix}, but its content is none; {expected}")
    kind = "text" if b"\0" not in head else "a file of another kind"
    return Refused("not-an-image", f"{kind}; {expected}")
