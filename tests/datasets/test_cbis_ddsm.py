from __future__ import annotations

import csv
import os
from pathlib import Path

import numpy as np
import pytest

from secondreader import datasets
from secondreader.datasets.cache import Cache
from secondreader.datasets.cbis_ddsm import lesion_names
from secondreader.datasets.cbis_ddsm_tables import leaks, read_tables
from secondreader.datasets.image_set import image_set
from secondreader.datasets.parts import divide
from secondreader.datasets.tree import Tree
from secondreader.domain import Kind, Mask, Part, SecondReaderError

COLUMNS = (
    "patient_id,{density},left or right breast,image view,abnormality id,abnormality type,"
    "{words},assessment,pathology,subtlety,image file path,cropped image file path,"
    "ROI mask file path"
).replace("{words}", "{a},{b}")
NEEDS_DATA = pytest.mark.skipif(
    not os.environ.get("SECONDREADER_TEST_DATA"), reason="needs SECONDREADER_TEST_DATA"
)
UID = "1.3.6.1.4.1.9590.100.1.2."


class Miniature:
    """Tables, and images with masks, in one of the layouts that downloaders leave."""

    def __init__(self, root: Path, layout: str, dicom, breast) -> None:
        self.root, self.layout, self.dicom, self.breast = root, layout, dicom, breast
        self.rows: dict[tuple[str, str], list[list[str]]] = {
            (table, part): [] for table in ("mass", "calc") for part in ("train", "test")
        }
        self.uids = 10**30

    def uid(self) -> str:
        self.uids += 98765431
        return UID + str(self.uids)

    def folder(self, name: str, study: str, series: str, what: str) -> str:
        return {
            "uids": f"CBIS-DDSM/{name}/{study}/{series}",
            "dates": f"CBIS-DDSM/{name}/08-29-2017-DDSM-NA-{study[-5:]}/1.000000-{what}-{series[-5:]}",
            "flat": f"{name}",
            "series": f"dicom/{series}",
        }[self.layout]

    def add(
        self,
        table: str,
        part: str,
        patient: str,
        number: int = 1,
        *,
        view: str = "CC",
        pathology: str = "MALIGNANT",
        swap: bool = False,
        mask_shape: tuple[int, int] | None = None,
        place: tuple[int, int] = (80, 40),
        words: tuple[str, str] = ("OVAL", "SPICULATED"),
        files: bool = True,
    ) -> None:
        name = f"{table.title()}-{'Training' if part == 'train' else 'Test'}_{patient}_LEFT_{view}"
        known = [row for row in self.rows[table, part] if row[-3].startswith(f"{name}/")]
        if known:
            image = known[0][-3]
        else:
            study, series = self.uid(), self.uid()
            image = f"{name}/{study}/{series}/000000.dcm"
            if files:
                folder = self.folder(name, study, series, "full mammogram images")
                film = self.breast(*place, seed=hash(patient) % 97)
                self.dicom(self.root / folder / "1-1.dcm", film, film=True)
        study, series = self.uid(), self.uid()
        folder = self.folder(f"{name}_{number}", study, series, "ROI mask images")
        rows, cols = np.indices(mask_shape or (160, 128))
        scale = rows.shape[0] / 160
        mask = ((rows - place[0] * scale) ** 2 + (cols - place[1] * scale) ** 2) <= (8 * scale) ** 2
        crop = self.breast(8, 8, 6, shape=(72, 72))
        if files:
            order = ("1-2.dcm", "1-1.dcm") if swap else ("1-1.dcm", "1-2.dcm")
            self.dicom(self.root / folder / order[0], mask.astype(np.uint8) * 255, film=True)
            self.dicom(self.root / folder / order[1], crop, film=True)
        stem = f"{name}_{number}/{study}/{series}"
        cells = [patient, "2", "LEFT", view, str(number)]
        cells += ["mass" if table == "mass" else "calcification", *words, "4", pathology, "3"]
        cells += [image, f"{stem}/000001.dcm\n", f"{stem}/000000.dcm"]
        self.rows[table, part].append(cells)

    def write(self) -> Path:
        self.root.mkdir(parents=True, exist_ok=True)
        for (table, part), rows in self.rows.items():
            mass = table == "mass"
            header = COLUMNS.format(
                density="breast_density" if mass else "breast density",
                a="mass shape" if mass else "calc type",
                b="mass margins" if mass else "calc distribution",
            )
            path = self.root / f"{table}_case_description_{part}_set.csv"
            with path.open("w", newline="") as stream:
                stream.write(header + "\n")
                csv.writer(stream).writerows(rows)
        return self.root


@pytest.fixture
def miniature(tmp_path, dicom, make_breast):
    return lambda layout="uids": Miniature(tmp_path / "cbis", layout, dicom, make_breast)


@pytest.mark.parametrize("layout", ["uids", "dates", "flat", "series"])
def test_masks_are_matched_by_content_in_every_layout(miniature, covers, tmp_path, layout):
    small = miniature(layout)
    small.add("mass", "train", "P_00001", swap=False, place=(80, 40))
    small.add("mass", "train", "P_00002", swap=True, place=(60, 30))
    found = datasets.scan("cbis_ddsm", small.write())
    images = image_set([found], Cache(tmp_path / "cache"))
    assert len(found.records) == 2 and not found.problems
    for record in found.records:
        assert isinstance(record.lesions[0].region, Mask)
        assert covers(images.open(record), record.lesions[0].region)


def test_a_mask_of_another_size_and_the_same_shape_is_fitted(miniature, covers, tmp_path):
    small = miniature()
    small.add("calc", "test", "P_00003", mask_shape=(320, 256))
    found = datasets.scan("cbis_ddsm", small.write())
    record = found.records[0]
    assert covers(image_set([found], Cache(tmp_path)).open(record), record.lesions[0].region)


def test_a_mask_of_another_shape_is_listed_and_its_lesion_still_counts(miniature):
    small = miniature()
    small.add("mass", "train", "P_00001", mask_shape=(160, 160))
    found = datasets.scan("cbis_ddsm", small.write())
    assert [problem.code for problem in found.problems] == ["mask-misfit"]
    assert found.records[0].lesions[0].region is None
    assert found.records[0].malignant is True


def test_several_abnormalities_of_one_image_are_one_record(miniature):
    small = miniature("dates")
    small.add("mass", "train", "P_00001", 1, pathology="BENIGN_WITHOUT_CALLBACK")
    small.add("mass", "train", "P_00001", 2, pathology="BENIGN")
    found = datasets.scan("cbis_ddsm", small.write())
    assert [len(record.lesions) for record in found.records] == [2]
    assert found.records[0].malignant is False
    assert found.records[0].lesions[0].pathology == "benign_without_callback"


def test_a_film_in_both_tables_is_one_record_with_the_lesions_of_both(miniature):
    small = miniature()
    small.add("mass", "train", "P_00001", pathology="BENIGN")
    small.add("calc", "train", "P_00001", pathology="MALIGNANT", words=("AMORPHOUS", "CLUSTERED"))
    root = small.write()
    both = datasets.scan("cbis_ddsm", root)
    assert [s.kind for s in both.records[0].lesions] == [Kind.MASS, Kind.CALCIFICATION_CLUSTER]
    assert both.records[0].malignant is True
    alone = datasets.scan("cbis_ddsm", root, {"tables": "mass"})
    assert alone.records[0].malignant is False and alone.choices[1] == ("tables", "mass")


def test_one_lesion_has_one_id_in_both_views_and_others_do_not(miniature):
    small = miniature()
    for view in ("CC", "MLO"):
        small.add("mass", "train", "P_00001", 1, view=view)
    small.add("mass", "train", "P_00001", 2, view="CC", words=("OVAL", "OBSCURED"))
    small.add("mass", "train", "P_00001", 2, view="MLO", words=("ROUND", "OBSCURED"))
    found = datasets.scan("cbis_ddsm", small.write())
    cc, mlo = (tuple(s.lesion_id for s in record.lesions) for record in found.records)
    assert cc[0] == mlo[0] and cc[1] != mlo[1]


def test_official_is_refused_where_it_leaks_and_clean_takes_the_woman_out_of_train(miniature):
    small = miniature("flat")
    small.add("mass", "train", "P_00001", view="CC")
    small.add("calc", "test", "P_00001", view="MLO")
    for patient in range(2, 12):
        small.add("mass", "train", f"P_{patient:05d}")
    found = datasets.scan("cbis_ddsm", small.write())
    assert "official-leak" in {problem.code for problem in found.problems}
    with pytest.raises(SecondReaderError, match="1 patients in more than one part"):
        divide(found.records, "official")
    parts = divide(found.records, "official-clean")
    assert [record.patient_id for record in parts[Part.TEST]] == ["P_00001"]
    assert sum(map(len, parts.values())) == 11


def test_a_row_without_its_image_is_listed(miniature):
    small = miniature()
    small.add("mass", "train", "P_00001")
    small.add("mass", "train", "P_00002", files=False)
    found = datasets.scan("cbis_ddsm", small.write())
    assert len(found.records) == 1
    assert [problem.code for problem in found.problems] == ["missing-image"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: text.replace("pathology", "outcome"), "no column 'pathology'"),
        (lambda text: text.replace("MALIGNANT", "PROBABLY"), "pathology: got 'PROBABLY'"),
    ],
)
def test_a_table_that_is_not_as_expected_is_one_line(miniature, change, message):
    small = miniature()
    small.add("mass", "train", "P_00001")
    path = small.write() / "mass_case_description_train_set.csv"
    path.write_text(change(path.read_text()))
    with pytest.raises(SecondReaderError, match=message) as error:
        datasets.scan("cbis_ddsm", path.parent)
    assert "\n" not in str(error.value) and path.name in str(error.value)


def test_tables_without_any_image_and_no_tables_are_refused(miniature, tmp_path):
    small = miniature()
    small.add("mass", "train", "P_00001", files=False)
    with pytest.raises(SecondReaderError, match="none of their images"):
        datasets.scan("cbis_ddsm", small.write())
    (tmp_path / "other").mkdir()
    with pytest.raises(SecondReaderError, match="no mass_case_description_train_set"):
        datasets.scan("cbis_ddsm", tmp_path / "other")


@NEEDS_DATA
def test_the_official_tables_are_read_whole():
    tree = Tree.of(Path(os.environ["SECONDREADER_TEST_DATA"]) / "cbis-ddsm")
    rows, problems = read_tables(tree, ("mass", "calc"))
    counts = {}
    for row in rows:
        rows_and_women = counts.setdefault((row.table, row.part.value), (set(), set()))
        rows_and_women[0].add(row.where)
        rows_and_women[1].add(row.patient)
    assert {key: tuple(map(len, value)) for key, value in counts.items()} == {
        ("mass", "train"): (1318, 691),
        ("mass", "test"): (378, 201),
        ("calc", "train"): (1546, 602),
        ("calc", "test"): (326, 151),
    }
    assert tuple(map(len, leaks(rows))) == (31, 29)
    assert tuple(map(len, leaks([row for row in rows if row.table == "mass"]))) == (0, 0)
    assert len({row.film for row in rows}) == 3032
    assert len({row.image_name for row in rows}) == 3103
    assert all(row.image.startswith(f"{row.image_name}/") for row in rows)
    assert all(row.roi.startswith(f"{row.image_name}_{row.number}/") for row in rows)
    assert [problem.code for problem in problems] == ["odd-value"] * 4
    assert (
        max(
            map(
                list(lesion_names(rows).values()).count, set(list(lesion_names(rows).values())[:50])
            )
        )
        <= 2
    )
