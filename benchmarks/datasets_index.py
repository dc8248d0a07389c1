"""How long it takes to index 10,000 images, and to load the index: ``python benchmarks/datasets_index.py``.

Three synthetic trees in a temporary folder: one with a table and boxes (VinDr-Mammo), one whose
headers must be opened one by one (CMMD), and records with masks.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

from secondreader import datasets
from secondreader.datasets.index import load_index, write_index
from secondreader.domain import Mask

VINDR = (
    "study_id,series_id,image_id,laterality,view_position,height,width,breast_birads,"
    "breast_density,finding_categories,finding_birads,xmin,ymin,xmax,ymax,split"
)


def vindr(root: Path, images: int) -> None:
    """A tree of empty files with tables: no header is needed to index it."""
    breasts, findings = [], []
    for number in range(images):
        study, image = f"{number // 4:032x}", f"{number:032x}"
        start = f"{study},r,{image},{'LR'[number % 2]},CC,3518,2800,BI-RADS 2,DENSITY C"
        breasts.append(f"{start},training")
        findings.append(f"{start},\"['Mass']\",BI-RADS 4,2355.1,1731.6,2483.0,1852.8,training")
        path = root / "images" / study / f"{image}.dicom"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    header = VINDR.split(",")
    short = ",".join([*header[:9], header[-1]])
    (root / "breast-level_annotations.csv").write_text("\n".join([short, *breasts]))
    (root / "finding_annotations.csv").write_text("\n".join([VINDR, *findings]))


def cmmd(root: Path, images: int) -> None:
    """A tree of small DICOM files whose side is in their headers."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = pydicom.uid.UID("1.2.840.10008.5.1.4.1.1.1.2")
    meta.MediaStorageSOPInstanceUID = generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    rows = ["ID1,LeftRight,Age,number,abnormality,classification,subtype"]
    for number in range(images):
        patient = f"D1-{number // 2:04d}"
        ds = FileDataset("", Dataset(), file_meta=meta, preamble=b"\0" * 128)
        ds.SOPClassUID, ds.SOPInstanceUID = meta.MediaStorageSOPClassUID, generate_uid()
        ds.PatientID, ds.ImageLaterality, ds.Modality = patient, "L", "MG"
        path = root / "CMMD" / patient / f"1-{number % 2}.dcm"
        path.parent.mkdir(parents=True, exist_ok=True)
        ds.save_as(path, enforce_file_format=True)
        if number % 2 == 0:
            rows.append(f"{patient},L,50,2,mass,Malignant,")
    (root / "CMMD_clinicaldata_revision.csv").write_text("\n".join(rows))


def timed(what: Callable[[], object], repeats: int = 1) -> float:
    """Return the median seconds of calling something."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        what()
        times.append(time.perf_counter() - start)
    return float(np.median(times))


def main() -> None:
    """Print a line a tree."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=10_000)
    count = parser.parse_args().images
    for name, make in (("vindr_mammo", vindr), ("cmmd", cmmd)):
        with tempfile.TemporaryDirectory() as folder:
            root, cache = Path(folder) / "set", Path(folder) / "cache"
            make(root, count)
            indexed = timed(lambda: datasets.load(name, root, cache=cache))  # noqa: B023
            choices = dict(datasets.scan(name, root).choices) if name != "cmmd" else {}
            loaded = timed(lambda: load_index(name, root, choices, cache), 7)  # noqa: B023
            print(
                f"{name}: {count} images indexed in {indexed:.2f} s, loaded in {loaded * 1e3:.0f} ms"
            )
            if name == "vindr_mammo":
                masks(root, cache, choices, count)


def masks(root: Path, cache: Path, choices: dict[str, str], count: int) -> None:
    """Give every image of a tree a mask of 300 x 300 pixels, and load that index."""
    disc = np.hypot(*np.indices((300, 300)) - 149.5) <= 150
    known = datasets.load("vindr_mammo", root, choices, cache=cache)
    records = tuple(
        replace(
            record,
            lesions=tuple(replace(s, region=Mask(disc, 1700, 2300)) for s in record.lesions),
        )
        for record in known.records
    )
    write_index(replace(known, records=records), cache)
    loaded = timed(lambda: load_index("vindr_mammo", root, choices, cache), 5)
    print(f"masks: an index of {count} masks of 300 x 300 loaded in {loaded * 1e3:.0f} ms")


if __name__ == "__main__":
    main()
