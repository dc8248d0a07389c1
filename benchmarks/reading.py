"""How fast `secondreader read` is, beside the bare decode: python benchmarks/reading.py

Prints Markdown tables: decode + prepare of one 4096 x 3328 16-bit image per transfer syntax, stage by
stage, as ratios to the bare decode of that file in the same run; peak memory; images per second with
one and two workers; ten thousand small files. Files are made in a temporary folder. `--quick` makes
everything small, to see that it runs; `--only` runs one of the tables.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import imagecodecs
import numpy as np
import pydicom
from PIL import Image
from pydicom.encaps import encapsulate
from pydicom.pixels.utils import pixel_array
from scipy import ndimage

from secondreader import formats, geometry, imaging, phantom, pipeline
from secondreader.domain import Intent, Laterality, View
from secondreader.formats import FileRef, ReadOptions
from secondreader.formats.dicom_write import dicom_bytes

ENCODERS: dict[str, tuple[str, Callable[[np.ndarray], bytes | bytearray] | None]] = {
    "explicit little endian": ("1.2.840.10008.1.2.1", None),
    "JPEG Lossless": ("1.2.840.10008.1.2.4.70", lambda a: imagecodecs.ljpeg_encode(a)),
    "JPEG-LS": ("1.2.840.10008.1.2.4.80", lambda a: imagecodecs.jpegls_encode(a)),
    "JPEG 2000": (
        "1.2.840.10008.1.2.4.90",
        lambda a: imagecodecs.jpeg2k_encode(a, codecformat="j2k", reversible=True, level=0),
    ),
    "HTJ2K": ("1.2.840.10008.1.2.4.201", lambda a: imagecodecs.htj2k_encode(a, reversible=True)),
}
RUNS = 5


def stored_image(rows: int, cols: int) -> np.ndarray:
    """Return a breast-like (rows, cols) uint16 picture of 16 bits: textured half-disc, dark air."""
    rng = np.random.default_rng(0)
    row, col = np.ogrid[0:rows, 0:cols]
    inside = ((row - rows / 2) / (0.45 * rows)) ** 2 + (col / (0.8 * cols)) ** 2 < 1
    texture = np.zeros((rows, cols), np.float32)
    for step in (4, 16, 64, 256):
        coarse = rng.standard_normal((rows // step + 2, cols // step + 2)).astype(np.float32)
        fine = Image.fromarray(coarse, "F").resize((cols, rows), Image.Resampling.BICUBIC)
        texture += step**0.7 * np.asarray(fine)
    values = 32000 + 8000 * texture / np.abs(texture).max() + rng.normal(0, 90, (rows, cols))
    return np.where(inside, values, 40).clip(0, 65535).astype(np.uint16)


def write(path: Path, stored: np.ndarray, syntax: str, encode: object) -> None:
    """Write a For Presentation mammogram in a transfer syntax."""
    content = dicom_bytes(
        stored,
        bits=16,
        intent=Intent.FOR_PRESENTATION,
        laterality=Laterality.L,
        view=View.CC,
        spacing_mm=0.07,
        study_uid="2.25.1",
        series_uid="2.25.2",
        sop_uid="2.25.3",
        patient_id="bench",
        number=1,
        vendor="bench",
        model="bench",
        window=(32768, 50000),
    )
    path.write_bytes(content)
    if encode is not None:
        ds = pydicom.dcmread(path)
        ds.file_meta.TransferSyntaxUID = pydicom.uid.UID(syntax)
        ds.PixelData = encapsulate([encode(stored)])
        ds["PixelData"].VR = "OB"
        ds.save_as(path)


def timed(run: Callable[[], object]) -> float:
    """Return the median seconds of a few runs."""
    seconds = []
    for _ in range(RUNS):
        start = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)


def stages(folder: Path, shape: tuple[int, int]) -> None:
    """Print decode + prepare per transfer syntax."""
    print(f"\nOne {shape[0]} x {shape[1]} image of 16 bits; medians of {RUNS} runs.\n")
    print(
        "| transfer syntax | bare decode, s | + VOI, checks | + mask | + resample to 0.1 mm "
        "| + normalise | all / bare |"
    )
    print("|---|---|---|---|---|---|---|")
    stored = stored_image(*shape)
    for name, (syntax, encode) in ENCODERS.items():
        path = folder / f"{syntax}.dcm"
        try:
            write(path, stored, syntax, encode)
        except Exception as error:
            print(f"| {name} | cannot be encoded here ({type(error).__name__}) | | | | | |")
            continue
        (ref,) = formats.find([path])
        assert isinstance(ref, FileRef)
        bare = timed(lambda p=path: pixel_array(pydicom.dcmread(p), raw=True))
        opened = timed(lambda r=ref: formats.mammogram(r, ReadOptions()))
        mammogram = formats.mammogram(ref, ReadOptions())
        masked = timed(lambda m=mammogram: imaging.breast_mask(m.pixels))
        mask = imaging.breast_mask(mammogram.pixels)
        frame = geometry.identity(shape)
        moved = timed(
            lambda m=mammogram, f=frame: imaging.to_spacing(m.pixels, f, (0.07, 0.07), 0.1)
        )
        small, _ = imaging.to_spacing(mammogram.pixels, frame, (0.07, 0.07), 0.1)
        inside = np.asarray(Image.fromarray(mask).resize(small.shape[::-1]))
        normal = timed(lambda s=small, i=inside: imaging.normalise(s, i))
        total = opened + masked + moved + normal
        print(
            f"| {name} | {bare:.2f} | {opened:.2f} | {masked:.2f} | {moved:.2f} | {normal:.2f} "
            f"| {total / bare:.2f} |"
        )


def _peak(folder: str, out: str) -> None:
    pipeline.read_to(folder, out)
    print(
        f"\nPeak memory of reading that folder in one process: "
        f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MB"
    )


def _filter(_: int) -> None:
    for _ in range(12):
        ndimage.gaussian_filter(np.ones((1500, 1500), np.float32), 3.0)


def ceiling() -> float:
    """Return how much a second process adds here at all: plain filters, nothing shared."""
    seconds = {}
    for count in (1, 2):
        with multiprocessing.get_context("spawn").Pool(count) as pool:
            pool.map(_filter, range(count))
            start = time.perf_counter()
            pool.map(_filter, range(8), chunksize=1)
            seconds[count] = time.perf_counter() - start
    return seconds[1] / seconds[2]


def workers(folder: Path, exams: int) -> None:
    """Print images per second with one and two workers, and peak memory."""
    made = folder / "exams"
    phantom.write_exams(made, exams=exams, seed=1)
    rates = {}
    for count in (1, 2):
        start = time.perf_counter()
        outcome = pipeline.read_to(made, folder / f"out-{count}", workers=count)
        rates[count] = outcome.images / (time.perf_counter() - start)
    print(
        f"\nReading {exams} phantom exams at 70 µm with spot_filter, pages written: "
        f"{rates[1]:.2f} images/s with 1 worker, {rates[2]:.2f} with 2 ({rates[2] / rates[1]:.2f} x); "
        f"a second process of plain filters adds {ceiling():.2f} x on this machine"
    )
    process = multiprocessing.get_context("spawn").Process(
        target=_peak, args=(str(made), str(folder / "out-peak"))
    )
    process.start()
    process.join()


def small_files(folder: Path, count: int) -> None:
    """Print how long many small files take, first and again."""
    many = folder / "many"
    many.mkdir()
    rng = np.random.default_rng(0)
    pixels = np.zeros((96, 80), np.uint8)
    pixels[16:80, :50] = rng.integers(80, 160, (64, 50))
    Image.fromarray(pixels).save(many / "0.png")
    content = (many / "0.png").read_bytes()
    for number in range(1, count):
        (many / f"{number}.png").write_bytes(content)
    options = ReadOptions(spacing_mm=0.2)
    seconds = []
    for _ in range(2):
        start = time.perf_counter()
        pipeline.read_to(many, folder / "out-many", options=options)
        seconds.append(time.perf_counter() - start)
    print(
        f"\n{count:,} files of 96 x 80: {seconds[0]:.0f} s; the same call again: {seconds[1]:.0f} s; "
        f"peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MB"
    )


def main() -> None:
    """Run all of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--only", choices=["stages", "workers", "files"])
    asked = parser.parse_args()
    quick, only = asked.quick, asked.only
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if only in (None, "stages"):
            stages(folder, (1024, 832) if quick else (4096, 3328))
        if only in (None, "workers"):
            workers(folder, 2 if quick else 30)
        if only in (None, "files"):
            small_files(folder, 100 if quick else 10_000)


if __name__ == "__main__":
    main()
