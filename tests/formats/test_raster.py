import io
import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from secondreader import formats, imaging
from secondreader.domain import Refused
from secondreader.formats import ReadOptions

RNG = np.random.default_rng(0)
GREY8 = RNG.integers(0, 256, (70, 80)).astype(np.uint8)
GREY8[0, :2] = 0, 255
GREY12 = RNG.integers(0, 4096, (70, 80)).astype(np.uint16)
GREY12[0, :2] = 0, 4095
GREY16 = RNG.integers(0, 65536, (70, 80)).astype(np.uint16)
GREY16[0, :2] = 0, 65535


def saved(pixels, kind="PNG", **options):
    stream = io.BytesIO()
    picture = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    picture.save(stream, kind, **options)
    return stream.getvalue()


def pgm(pixels, maximum, magic="P5", header="{magic}\n{cols} {rows}\n{maximum}\n"):
    rows, cols = pixels.shape
    head = header.format(magic=magic, cols=cols, rows=rows, maximum=maximum).encode()
    if magic == "P2":
        return head + "\n".join(" ".join(map(str, row)) for row in pixels.tolist()).encode()
    return head + pixels.astype(">u2" if maximum > 255 else "u1").tobytes()


def tiff(pixels, *, order="<", photometric=1, sample_format=None, bits=None, extra=()):
    """An uncompressed TIFF, byte by byte: its truth owes nothing to a library."""
    rows, cols = pixels.shape[:2]
    channels = pixels.shape[2] if pixels.ndim == 3 else 1
    data = pixels.astype(pixels.dtype.newbyteorder(order)).tobytes()
    bits = bits or pixels.dtype.itemsize * 8
    tags = [(256, 3, cols), (257, 3, rows), (259, 3, 1), (262, 3, photometric), (277, 3, channels),
            (278, 3, rows), (279, 4, len(data))]  # fmt: skip
    tags += [(258, 3, bits)] if channels == 1 else []
    tags += [(339, 3, sample_format)] if sample_format else []
    tags += list(extra)
    offset = 8 + 2 + 12 * (len(tags) + 1 + (channels > 1)) + 4
    tags.append((273, 4, offset + 2 * channels))
    entries = []
    for tag, kind, value in sorted(tags):
        packed = struct.pack(
            order + ("HH" if kind == 3 else "I"), *((value, 0) if kind == 3 else (value,))
        )
        entries.append((tag, struct.pack(order + "HHI", tag, kind, 1) + packed))
    if channels > 1:
        entries.append((258, struct.pack(order + "HHII", 258, 3, channels, offset)))
    body = b"".join(entry for _, entry in sorted(entries))
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "I", 8)
    count = struct.pack(order + "H", len(entries))
    return head + count + body + bytes(4) + struct.pack(order + "H", bits) * channels + data


@pytest.fixture
def read(tmp_path):
    def reader(content, name="1.png", **options):
        (tmp_path / name).write_bytes(content)
        (ref,) = formats.find([tmp_path / name])
        return formats.mammogram(ref, ReadOptions(**options))

    return reader


def code(read, content, **options):
    with pytest.raises(Refused) as error:
        read(content, **options)
    assert "\n" not in error.value.reason
    return error.value.code


# ------------------------------------------------------------------------------ the same, each way

SAME8 = {
    "png": saved(GREY8),
    "png rgb": saved(np.stack([GREY8] * 3, -1)),
    "png rgba": saved(np.dstack([GREY8, GREY8, GREY8, np.full_like(GREY8, 255)])),
    "png la": saved(Image.merge("LA", [Image.fromarray(GREY8), Image.new("L", (80, 70), 255)])),
    "pgm": pgm(GREY8, 255),
    "pgm ascii": pgm(GREY8, 255, "P2"),
    "pgm with comments": pgm(GREY8, 255, header="{magic} # a\n# b\n{cols}\t{rows} # c\n{maximum}\n"),
    "pgm ascii 16": pgm(GREY8, 65535, "P2", header="{magic} {cols} {rows} {maximum} "),
    "tiff": tiff(GREY8),
    "tiff big-endian": tiff(GREY8, order=">"),
    "tiff white is zero": tiff(255 - GREY8, photometric=0),
    "tiff rgb": tiff(np.stack([GREY8] * 3, -1), photometric=2),
    "tiff lzw": saved(GREY8, "TIFF", compression="tiff_lzw"),
    "tiff deflate": saved(GREY8, "TIFF", compression="tiff_adobe_deflate"),
    "png in a 16-bit file": saved(GREY8.astype(np.uint16)),
}  # fmt: skip
SAME12 = {
    "png": saved(GREY12),
    "pgm": pgm(GREY12, 4095),
    "pgm with a larger maximum": pgm(GREY12, 65535),
    "pgm ascii": pgm(GREY12, 4095, "P2"),
    "tiff": tiff(GREY12),
    "tiff big-endian": tiff(GREY12, order=">"),
    "tiff white is zero": tiff(4095 - GREY12, photometric=0),
    "tiff lzw": saved(GREY12, "TIFF", compression="tiff_lzw"),
}


@pytest.mark.parametrize("way", SAME8)
def test_eight_bits_read_the_same_from_every_format(read, way):
    mammogram = read(SAME8[way])
    assert np.array_equal(mammogram.pixels, GREY8.astype(np.float32) / np.float32(255))
    assert mammogram.source.bits == 8 and mammogram.source.lossy is False


@pytest.mark.parametrize("way", SAME12)
def test_twelve_bits_in_sixteen_keep_their_range(read, way):
    mammogram = read(SAME12[way])
    assert np.array_equal(mammogram.pixels, GREY12.astype(np.float32) / np.float32(4095))
    assert mammogram.source.bits == 12
    assert mammogram.pixels.dtype == np.float32 and not mammogram.pixels.flags.writeable


def test_white_is_zero_is_the_same_when_compressed(read):
    """Pillow inverts some of these and not others."""
    for pixels, full in ((GREY8, 255), (GREY16, 65535)):
        plain = read(saved((full - pixels).astype(pixels.dtype), "TIFF", compression="tiff_lzw"))
        content = saved((full - pixels).astype(pixels.dtype), "TIFF", compression="tiff_lzw")
        at = content.index(struct.pack("<HHIHH", 262, 3, 1, 1, 0))
        content = content[: at + 8] + b"\0\0" + content[at + 10 :]
        inverted = read(content)
        assert np.array_equal(inverted.pixels, pixels.astype(np.float32) / np.float32(full))
        assert not np.array_equal(inverted.pixels, plain.pixels)
        (step,) = (s for s in inverted.source.steps if s.name == "invert")
        assert "262" in step.origin and step.before == step.after == (0, full)


def test_twelve_bits_packed_into_a_tiff_are_read(read):
    flat = GREY12.ravel().astype(int)
    high, low = flat[::2], flat[1::2]
    packed = np.stack([high >> 4, (high & 15) << 4 | low >> 8, low & 255], -1).astype(np.uint8)
    content = tiff(packed.reshape(70, 120), bits=12)
    at = content.index(struct.pack("<HHIHH", 256, 3, 1, 120, 0))
    content = content[: at + 8] + struct.pack("<H", 80) + content[at + 10 :]
    assert np.array_equal(read(content).pixels, GREY12.astype(np.float32) / np.float32(4095))


@pytest.mark.parametrize(
    ("maximum", "bits"),
    [(200, 8), (255, 8), (256, 10), (1023, 10), (1024, 12), (4095, 12), (4096, 14), (16384, 16)],
)
def test_the_bits_are_the_fewest_that_hold_the_maximum(read, maximum, bits):
    pixels = np.minimum(GREY16, maximum)
    mammogram = read(saved(pixels))
    assert mammogram.source.bits == bits
    assert mammogram.pixels.max() == np.float32(maximum) / np.float32(2**bits - 1)
    (step,) = (s for s in mammogram.source.steps if s.name == "scale")
    assert step.before == (0, maximum) and "hold the file's maximum" in step.origin


def test_the_user_may_state_the_bits(read):
    mammogram = read(saved(GREY8), bits=12)
    assert mammogram.pixels.max() == np.float32(255) / np.float32(4095)
    assert next(s.origin for s in mammogram.source.steps if s.name == "scale") == "--bits"
    assert code(read, saved(GREY12), bits=10) == "bad-bits"


def test_jpeg_is_read_and_said_to_be_lossy(read):
    smooth = np.add.outer(np.arange(70), np.arange(80)).astype(np.uint8)
    for pixels in (smooth, np.stack([smooth] * 3, -1)):
        mammogram = read(saved(pixels, "JPEG", quality=95))
        assert np.abs(mammogram.pixels * 255 - smooth).max() <= 3
        assert mammogram.source.lossy is True
    assert read(saved(smooth, "TIFF", compression="jpeg")).source.lossy is True


# ------------------------------------------------------------------------------------ what is refused


def png(width, height, depth=8, colour=0, data=b""):
    def chunk(name, body):
        return (
            struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
        )

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(data)) + chunk(b"IEND", b"")


def rgb16():
    rows = b"".join(b"\0" + np.repeat(row, 3).astype(">u2").tobytes() for row in GREY16)
    return png(80, 70, 16, 2, rows)


COLOURED = np.stack([GREY8, GREY8, GREY8], -1)
COLOURED[3, 3, 2] ^= 1
HALF = Image.merge("LA", [Image.fromarray(GREY8), Image.fromarray(GREY8)])
PALETTE = Image.fromarray(GREY8).quantize(64)
EXIF = Image.Exif()
EXIF[274] = 6
BROKEN = bytearray(saved(GREY8))
BROKEN[len(BROKEN) // 2] ^= 1

REFUSED = {
    "colour": [
        saved(COLOURED), saved(Image.fromarray(COLOURED).convert("CMYK"), "TIFF"), rgb16(),
        saved(Image.fromarray(COLOURED).convert("CMYK"), "JPEG"), b"P6 80 70 255\n" + bytes(16800),
        tiff(np.stack([GREY16] * 3, -1), photometric=2),
    ],
    "palette": [saved(PALETTE), saved(PALETTE, "TIFF")],
    "transparent": [saved(HALF), saved(GREY8, transparency=7), saved(GREY16, transparency=int(GREY16[5, 5]))],
    "too-few-bits": [
        saved(Image.fromarray(GREY8).convert("1")), saved(Image.fromarray(GREY8).convert("1"), "TIFF"),
        png(80, 70, 4, 0, bytes(41 * 70)), b"P4 80 70\n" + bytes(700), b"P1 1 1 0",
        pgm(GREY8 // 128, 1), saved(GREY8 // 128 * 255),
    ],
    "blank": [saved(np.zeros((70, 80), np.uint8)), pgm(np.full((70, 80), 9), 4095)],
    "too-small": [saved(GREY8[:63]), saved(GREY8[:, :10], "JPEG")],
    "too-large": [
        png(65535, 65535), png(20000, 10000), b"P5 65535 65535 255\n", b"P2 65535 65535 255\n1 ",
        b"P5 999999999999999999999 1 255\n",
        tiff(GREY8).replace(struct.pack("<HHIHH", 256, 3, 1, 80, 0), struct.pack("<HHIHH", 256, 3, 1, 65535, 0))
        .replace(struct.pack("<HHIHH", 257, 3, 1, 70, 0), struct.pack("<HHIHH", 257, 3, 1, 65535, 0)),
    ],
    "truncated": [
        saved(GREY8)[:-2000], saved(GREY8, "JPEG")[:-500], tiff(GREY8)[:-100], pgm(GREY8, 255)[:-1],
        pgm(GREY8, 255, "P2")[:-100], pgm(GREY8, 255, "P2")[:-100] + b" x " * 40,
    ],
    "unreadable": [bytes(BROKEN), saved(GREY8)[:30], saved(GREY8, "JPEG")[:20], tiff(GREY8)[:12]],
    "bad-header": [
        b"P5\n", b"P5 80 x 255\n", pgm(GREY8, 0), pgm(GREY8, 65536), b"P5 0 70 255\n", b"P5 -80 70 255\n",
        pgm(GREY8, 100), pgm(GREY8, 100, "P2"), b"P2 80 70 255\n" + b"-1 " * 5600,
    ],
    "unsupported": [
        tiff(GREY8.astype(np.float32), sample_format=3), tiff(GREY12.astype(np.int16), sample_format=2),
        tiff(GREY8.astype(np.uint32)), saved(GREY8, "BMP"), saved(GREY8, "GIF"), saved(GREY8, "JPEG2000"),
        b"\x1f\x8b" + bytes(50), b"Rar!" + bytes(50), b"7z\xbc\xaf\x27\x1c" + bytes(50),
    ],
    "several": [
        saved(GREY8, "TIFF", save_all=True, append_images=[Image.fromarray(GREY8)]),
        saved(GREY8, "PNG", save_all=True, append_images=[Image.fromarray(255 - GREY8)]),
        pgm(GREY8, 255) * 2,
    ],
    "orientation": [
        saved(GREY8, exif=EXIF), saved(GREY8, "JPEG", exif=EXIF), tiff(GREY8, extra=[(274, 3, 3)]),
    ],
    "empty": [b""],
}  # fmt: skip


@pytest.mark.parametrize(
    ("expected", "number"),
    [(c, n) for c, contents in REFUSED.items() for n in range(len(contents))],
)
def test_what_is_no_mammogram_is_refused_with_its_code(read, expected, number):
    assert code(read, REFUSED[expected][number]) == expected


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("README", b"hello\n", "text; expected DICOM, PNG, PGM, TIFF or JPEG"),
        ("t.csv", b"P5,a\n", "text;"),
        ("x.bin", bytes(100), "a file of another kind;"),
        ("1.dcm", b"hello", "named .dcm, but its content is none;"),
        ("1.png", bytes(10), "named .png, but its content is none;"),
    ],
)
def test_what_is_no_image_is_said_before_grouping(tmp_path, name, content, words):
    (tmp_path / name).write_bytes(content)
    (ref,) = formats.find([tmp_path])
    for ask in (formats.header, formats.mammogram):
        with pytest.raises(Refused, match=words) as error:
            ask(ref, ReadOptions())
        assert error.value.code == "not-an-image"


@pytest.mark.parametrize(
    "content", [SAME8["png"], SAME12["tiff"], saved(GREY8, "JPEG"), SAME8["pgm"]]
)
def test_whatever_is_broken_anywhere_is_read_or_refused_but_never_crashes(read, content):
    rng = np.random.default_rng(1)
    for _ in range(60):
        damaged = bytearray(content[: rng.integers(1, len(content))])
        for _ in range(rng.integers(0, 4)):
            damaged[rng.integers(len(damaged) // (1 + rng.integers(20)) + 1) % len(damaged)] = (
                rng.integers(256)
            )
        try:
            read(bytes(damaged))
        except Refused as refused:
            assert "\n" not in refused.reason


# ------------------------------------------------------------------------------ what is known of it


def test_the_resolution_tag_is_not_taken_for_the_pixel_pitch(read):
    mammogram = read(saved(GREY8, dpi=(300, 300)))
    assert mammogram.spacing_mm is None
    (step,) = (s for s in mammogram.source.steps if s.name == "spacing")
    assert "300 dpi" in step.detail and "--spacing-mm" in step.origin
    assert read(saved(GREY8), spacing_mm=0.07).spacing_mm == (0.07, 0.07)


def test_the_table_comes_before_name_and_option(tmp_path):
    (tmp_path / "7_L.png").write_bytes(saved(GREY8))
    (tmp_path / "7_R_CC.png").write_bytes(saved(GREY8))
    (tmp_path / "t.csv").write_text(
        "path,exam_id,patient_id,view,spacing_mm\n7_L.png,e,p,MLO,0.05\n"
    )
    options = ReadOptions(spacing_mm=0.2, table=formats.read_table(tmp_path / "t.csv"))
    one, two = formats.find([tmp_path / "7_L.png", tmp_path / "7_R_CC.png"])
    header = formats.header(one, options)
    assert (header.exam_id, header.patient_id, header.grouped_by) == ("e", "p", "table")
    assert (header.laterality, header.view) == ("L", "MLO") or header.laterality is None
    mammogram = formats.mammogram(one, options)
    assert mammogram.spacing_mm == (0.05, 0.05) and mammogram.view == "MLO"
    origins = {s.name: s.origin for s in mammogram.source.steps}
    assert origins["spacing"] == origins["view"] == "t.csv line 2"
    other = formats.header(two, options)
    assert (other.exam_id, other.patient_id, other.grouped_by) == ("7", None, "name")
    assert formats.mammogram(two, options).spacing_mm == (0.2, 0.2)


def test_a_table_that_contradicts_the_name_is_refused_unless_accepted(tmp_path):
    (tmp_path / "0_L-CC.png").write_bytes(saved(GREY8))
    (tmp_path / "t.csv").write_text("path,laterality\n0_L-CC.png,R\n")
    table = formats.read_table(tmp_path / "t.csv")
    ref, _ = formats.find([tmp_path])
    with pytest.raises(
        Refused, match=r"laterality: t\.csv line 2 says R, the file's name says L"
    ) as error:
        formats.header(ref, ReadOptions(table=table))
    assert error.value.code == "contradiction" in formats.ACCEPTABLE
    accepted = ReadOptions(frozenset({"contradiction"}), table=table)
    assert formats.mammogram(ref, accepted).laterality == "R"


def test_an_inverted_picture_is_left_as_it_is_and_said(read, monkeypatch):
    for inverted in (True, False):
        monkeypatch.setattr(imaging, "looks_inverted", lambda _, answer=inverted: answer)
        mammogram = read(saved(GREY8))
        assert np.array_equal(mammogram.pixels, GREY8.astype(np.float32) / np.float32(255))
        assert [s.name for s in mammogram.source.steps].count("polarity") == inverted


# ------------------------------------------------------------------------------------------- inspect


def inspect(tmp_path, content, name="clinic/Doe_Jane_0_L-CC.png", identifiers=False, **options):
    file = tmp_path / name
    file.parent.mkdir(exist_ok=True)
    file.write_bytes(content)
    (ref,) = formats.find([file])
    return formats.inspect(ref, ReadOptions(**options), identifiers)


def test_inspect_tells_each_step_with_origin_and_value_ranges(tmp_path):
    told = inspect(tmp_path, saved(GREY12), spacing_mm=0.07)
    assert told.read and told.refusals == () and told.format == "PNG" and told.bits == 12
    assert [s.name for s in told.steps] == ["decode", "scale", "laterality", "view", "spacing"]
    assert told.steps[0].detail == "PNG, 70 x 80, 16 bits, lossless"
    assert told.steps[1].before == (0, 4095) and told.steps[1].after == (0, 1)
    assert told.breast is not None and 0 <= told.breast.area_fraction <= 1
    assert told.spacing_mm == (0.07, 0.07) and told.laterality == "L"


def test_inspect_shows_ids_only_when_asked(tmp_path):
    name = "20586908_6c613a14b80a8591_MG_R_CC_ANON.png"
    assert "identifiers" not in inspect(tmp_path, saved(GREY8), name).as_dict()
    shown = inspect(tmp_path, saved(GREY8), name, identifiers=True).as_dict()
    assert shown["identifiers"]["patient_id"] == "6c613a14b80a8591"


def test_inspect_tells_each_reason_to_refuse(tmp_path):
    told = inspect(tmp_path, saved(COLOURED), identifiers=True)
    assert not told.read and [r.code for r in told.refusals] == ["colour"]
    (tmp_path / "t.csv").write_text("path,laterality,view\nclinic/Doe_Jane_0_L-CC.png,R,MLO\n")
    table = formats.read_table(tmp_path / "t.csv")
    told = inspect(tmp_path, saved(GREY8), table=table)
    assert [(r.code, r.acceptable, r.accepted) for r in told.refusals] == [
        ("contradiction", True, False)
    ]
    assert not told.read and told.steps  # what it would be is told all the same
    told = inspect(tmp_path, saved(GREY8), table=table, accept=frozenset({"contradiction"}))
    assert told.read and told.refusals[0].accepted
    told = inspect(tmp_path, saved(COLOURED), table=table)
    assert [r.code for r in told.refusals] == ["contradiction", "colour"]


def test_an_inspection_is_plain_json(tmp_path):
    import json

    plain = json.loads(json.dumps(inspect(tmp_path, saved(GREY8)).as_dict()))
    assert plain["laterality"] == "L" and plain["steps"][0]["after"] == [0, 255]


# ---------------------------------------------------------------------------------------- real images

ROOT = Path(os.environ.get("SECONDREADER_TEST_DATA", ""))
needs_data = pytest.mark.skipif(
    not os.environ.get("SECONDREADER_TEST_DATA"), reason="needs SECONDREADER_TEST_DATA"
)


@needs_data
def test_the_pgm_and_the_png_of_a_film_are_the_same_mammogram():
    for file in sorted((ROOT / "mini-mias-original").iterdir()):
        pair = formats.find([file, ROOT / "mini-mias" / f"{file.stem}.png"])
        one, two = (formats.mammogram(ref, ReadOptions()) for ref in pair)
        assert np.array_equal(one.pixels, two.pixels)


@needs_data
def test_a_digital_exam_of_rasters_is_one_exam_of_four_views():
    refs = [ref for ref in formats.find([ROOT / "nyu-exam"]) if ref.path.endswith(".png")]
    headers = [formats.header(ref, ReadOptions()) for ref in refs]
    assert {header.exam_id for header in headers} == {"0"}
    assert {(str(h.laterality), str(h.view)) for h in headers} == {
        ("L", "CC"), ("L", "MLO"), ("R", "CC"), ("R", "MLO")
    }  # fmt: skip
    assert {formats.mammogram(ref, ReadOptions()).source.bits for ref in refs} == {12}


@needs_data
def test_every_file_of_the_data_folder_is_read_or_accounted_for():
    codes = {}
    for found in formats.find([ROOT]):
        try:
            if isinstance(found, formats.FileRef):
                formats.header(found, ReadOptions())
            codes[found.path] = getattr(found, "code", "read")
        except Refused as refused:
            codes[found.path] = refused.code
    assert len(codes) == sum(len(names) for _, _, names in os.walk(ROOT))
    assert set(codes.values()) == {"read", "not-an-image"}
