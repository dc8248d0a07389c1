"""One mammogram, however it is stored: every transfer syntax, polarity and VOI kind."""

import imagecodecs
import numpy as np
import pydicom
import pytest
from pydicom.encaps import encapsulate
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    RLELossless,
)

from dicom_files import BITS, FULL, dataset, read, save, stored


def jpeg2k(values):
    return imagecodecs.jpeg2k_encode(
        values, codecformat="j2k", reversible=True, level=0, bitspersample=BITS
    )


LOSSLESS = {
    "implicit little endian": (ImplicitVRLittleEndian, None),
    "explicit little endian": (ExplicitVRLittleEndian, None),
    "explicit big endian": (ExplicitVRBigEndian, None),
    "deflated": (DeflatedExplicitVRLittleEndian, None),
    "RLE": (RLELossless, None),
    "JPEG Lossless .57": ("1.2.840.10008.1.2.4.57", imagecodecs.ljpeg_encode),
    "JPEG Lossless .70": ("1.2.840.10008.1.2.4.70", imagecodecs.ljpeg_encode),
    "JPEG-LS .80": ("1.2.840.10008.1.2.4.80", imagecodecs.jpegls_encode),
    "JPEG-LS near-lossless .81": ("1.2.840.10008.1.2.4.81", imagecodecs.jpegls_encode),
    "JPEG 2000 .90": ("1.2.840.10008.1.2.4.90", jpeg2k),
    "JPEG 2000 .91": ("1.2.840.10008.1.2.4.91", jpeg2k),
    "HTJ2K .201": (
        "1.2.840.10008.1.2.4.201",
        lambda v: imagecodecs.htj2k_encode(v, reversible=True),
    ),
    "HTJ2K RPCL .202": (
        "1.2.840.10008.1.2.4.202",
        lambda v: imagecodecs.htj2k_encode(v, reversible=True),
    ),
}


def lut(values, bits, first=0):
    item = pydicom.Dataset()
    item.LUTDescriptor = [len(values), first, bits]
    item.LUTData = np.asarray(values, "<u2").tobytes()
    item["LUTData"].VR = "OW"
    return pydicom.Sequence([item])


IDENTITY = lut(np.arange(FULL + 1), BITS)
HALF = (FULL + 1) / 2
# Kinds that all leave the full range as it is; LINEAR's own half value is its definition's.
VOI = {
    "none": {"WindowCenter": None, "WindowWidth": None, "VOILUTFunction": None},
    "LINEAR": {"WindowCenter": HALF, "WindowWidth": FULL + 1},
    "LINEAR_EXACT": {
        "WindowCenter": FULL / 2,
        "WindowWidth": FULL,
        "VOILUTFunction": "LINEAR_EXACT",
    },
    "LUT": {"WindowCenter": None, "WindowWidth": None, "VOILUTSequence": IDENTITY},
    "LUT beside a window": {
        "WindowCenter": 100,
        "WindowWidth": 10,
        "VOILUTSequence": IDENTITY,
    },
    "the first of two windows": {
        "WindowCenter": [HALF, 50],
        "WindowWidth": [FULL + 1, 10],
    },
}


def monochrome1(ds):
    """The same picture, small values bright."""
    values = np.frombuffer(ds.PixelData, "<u2")
    ds.PixelData = (FULL - values).astype("<u2").tobytes()
    ds.PhotometricInterpretation, ds.PresentationLUTShape = "MONOCHROME1", "INVERSE"
    return ds


@pytest.mark.parametrize("polarity", ["MONOCHROME2", "MONOCHROME1"])
@pytest.mark.parametrize("voi", VOI)
@pytest.mark.parametrize("syntax", LOSSLESS)
def test_the_same_mammogram_comes_out_of_every_way_to_store_it(syntax, voi, polarity, tmp_path):
    ds = dataset(**VOI[voi])
    if polarity == "MONOCHROME1":
        ds = monochrome1(ds)
    uid, encode = LOSSLESS[syntax]
    mammogram = read(save(ds, tmp_path / "a.dcm", uid, encode))
    # A window of width w maps w - 1 steps (PS3.3 C.11.2.1.2): never more than one grey level apart.
    exact = stored() / np.float32(FULL)
    assert mammogram.pixels == pytest.approx(exact, abs=0.5 / FULL)
    assert mammogram.spacing_mm == (0.1, 0.1)
    assert (mammogram.laterality, mammogram.view) == ("L", "CC")


@pytest.mark.parametrize("syntax", LOSSLESS)
def test_lossless_stored_values_are_decoded_bit_for_bit(syntax, tmp_path):
    uid, encode = LOSSLESS[syntax]
    plain = read(save(dataset(), tmp_path / "a.dcm"))
    other = read(save(dataset(), tmp_path / "b.dcm", uid, encode))
    assert (plain.pixels == other.pixels).all()
    assert plain.source.sha256 == other.source.sha256


def test_a_sigmoid_is_that_of_the_standard(tmp_path):
    ds = dataset(WindowCenter=2000, WindowWidth=1500, VOILUTFunction="SIGMOID")
    mammogram = read(save(ds, tmp_path / "a.dcm"))
    expected = 1 / (1 + np.exp(-4 * (stored().astype(float) - 2000) / 1500))
    assert mammogram.pixels == pytest.approx(expected, abs=1e-5)
    assert "SIGMOID" in mammogram.source.voi


@pytest.mark.parametrize(
    ("uid", "encode"),
    [
        ("1.2.840.10008.1.2.4.50", None),
        ("1.2.840.10008.1.2.4.51", None),
        ("1.2.840.10008.1.2.4.81", lambda v: imagecodecs.jpegls_encode(v, level=3)),
        (
            "1.2.840.10008.1.2.4.91",
            lambda v: imagecodecs.jpeg2k_encode(v, codecformat="j2k", level=60, bitspersample=BITS),
        ),
    ],
)
def test_lossy_compression_is_read_and_recorded(uid, encode, tmp_path):
    ds = dataset()
    if encode is None:
        eight = (stored() >> 4).astype(np.uint8)
        ds.BitsAllocated = ds.BitsStored = 8
        ds.HighBit = 7
        ds.WindowCenter, ds.WindowWidth = 128, 256
        ds.file_meta.TransferSyntaxUID = uid
        ds.PixelData = encapsulate([imagecodecs.jpeg8_encode(eight, level=95)])
        ds["PixelData"].VR = "OB"
        pydicom.dcmwrite(tmp_path / "a.dcm", ds, enforce_file_format=True)
        path = tmp_path / "a.dcm"
    else:
        path = save(ds, tmp_path / "a.dcm", uid, encode)
    mammogram = read(path)
    assert mammogram.source.lossy is True
    assert np.corrcoef(mammogram.pixels.ravel(), stored().ravel())[0, 1] > 0.98
    assert read(save(dataset(), tmp_path / "b.dcm")).source.lossy is False


def test_without_a_preamble_it_is_the_same(tmp_path):
    whole = save(dataset(), tmp_path / "a.dcm").read_bytes()
    (tmp_path / "b.dcm").write_bytes(whole[132:])
    assert (read(tmp_path / "a.dcm").pixels == read(tmp_path / "b.dcm").pixels).all()


@pytest.mark.parametrize("bits", [10, 12, 14, 16])
@pytest.mark.parametrize("signed", [False, True])
def test_any_depth_signed_or_not(bits, signed, tmp_path):
    top = 2**bits - 1
    scaled = stored().astype(np.int64) * top // FULL
    ds = dataset(WindowCenter=None, WindowWidth=None)
    ds.BitsStored, ds.HighBit, ds.PixelRepresentation = bits, bits - 1, int(signed)
    shift = 2 ** (bits - 1) if signed else 0
    ds.PixelData = (scaled - shift).astype("<i2" if signed else "<u2").tobytes()
    pixels = read(save(ds, tmp_path / "a.dcm")).pixels
    assert pixels == pytest.approx(scaled / top, abs=1e-6)


def test_overlay_bits_above_the_stored_ones_are_cut_off(tmp_path):
    ds = dataset(stored() | np.uint16(0xF000))
    assert (
        read(save(ds, tmp_path / "a.dcm")).pixels
        == read(save(dataset(), tmp_path / "b.dcm")).pixels
    ).all()
