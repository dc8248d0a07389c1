from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest

from secondreader import datasets
from secondreader.datasets.image_set import image_set
from secondreader.datasets.verify import verify

NEEDS_DATA = pytest.mark.skipif(
    not os.environ.get("SECONDREADER_TEST_DATA"), reason="needs SECONDREADER_TEST_DATA"
)
HEADER = "path,patient_id,laterality,kind,row,col,part"


@pytest.fixture
def table(tmp_path, png, make_breast):
    """Six films, three right and three left, each hung as they usually are."""
    root = tmp_path / "set"
    rows = [HEADER]
    for number in range(6):
        side = "RL"[number % 2]
        wall = "right" if side == "R" else "left"
        png(root / f"{number}.png", make_breast(wall=wall, seed=number, shape=(320, 256)))
        rows.append(f"{number}.png,w{number},{side},,,,")
    (root / "images.csv").write_text("\n".join(rows))
    return root


def checked(*roots, decode=True):
    found = [datasets.scan("table", root) for root in roots]
    verdict = verify(found, images=image_set(found) if decode else None)
    return verdict, {finding.check: finding for finding in verdict.findings}


def test_a_sound_set_is_sound(table):
    verdict, found = checked(table)
    assert not verdict.broken and {f.state for f in verdict.findings} == {"ok"}
    assert found["readable images"].got == "6"
    assert found["side by its chest wall"].got == "0 of 6 against"


def test_a_truncated_file_is_broken_and_named(table):
    path = table / "3.png"
    path.write_bytes(path.read_bytes()[:2000])
    verdict, found = checked(table)
    assert verdict.broken and found["readable images"].files == ("3.png",)


def test_a_film_twice_is_found_by_its_pixels_and_two_women_are_worse(table, png, make_breast):
    copy = make_breast(wall="right", seed=0, shape=(320, 256))
    png(table / "again.png", copy)
    text = (table / "images.csv").read_text()
    (table / "images.csv").write_text(f"{text}\nagain.png,w0,R,,,,")
    _, found = checked(table)
    assert found["one image twice"].files == ("0.png", "again.png")
    assert found["one image of two patients"].state == "ok"
    (table / "images.csv").write_text(f"{text}\nagain.png,other,R,,,,")
    _, found = checked(table)
    assert found["one image of two patients"].state == "broken"


def test_a_film_in_two_sets_is_found(table, tmp_path):
    folder = tmp_path / "mias"
    folder.mkdir()
    (folder / "mdb001.png").write_bytes((table / "0.png").read_bytes())
    (folder / "Info.txt").write_text("mdb001 G NORM\n")
    sources = [datasets.scan("table", table), datasets.scan("mini_mias", folder)]
    found = {
        finding.check: finding for finding in verify(sources, images=image_set(sources)).findings
    }
    assert found["one image in two sets"].files == ("0.png", "mdb001.png")


def test_a_mirrored_film_is_against_the_habit_of_its_set(table, png, make_breast):
    png(table / "2.png", make_breast(wall="left", seed=2, shape=(320, 256)))
    verdict, found = checked(table)
    assert (
        found["side by its chest wall"].files == ("2.png",)
        and found["side by its chest wall"].state == "note"
    )
    assert not verdict.broken


def test_a_lesion_outside_its_image_is_broken(table):
    text = (table / "images.csv").read_text().replace("1.png,w1,L,,,", "1.png,w1,L,mass,500,20")
    (table / "images.csv").write_text(text)
    _, found = checked(table)
    assert found["lesions inside their image"].files == ("1.png",)


def test_a_woman_in_two_parts_is_told(table):
    lines = (table / "images.csv").read_text().splitlines()
    parts = ["", "train", "test", "train", "train", "test", "test"]
    moved = [f"{line}{part}" for line, part in zip(lines, parts, strict=True)]
    moved[2] = moved[2].replace("w1", "w0")
    (table / "images.csv").write_text("\n".join(moved))
    _, found = checked(table)
    assert found["patients in two parts"].got == "1"
    assert "official-clean" in found["patients in two parts"].remedy


def test_without_decoding_only_what_needs_pixels_is_left_out(table):
    (table / "3.png").write_bytes(b"")
    verdict, found = checked(table, decode=False)
    assert "readable images" not in found and not verdict.broken


def test_the_verdict_is_a_table_and_plain_json(table):
    verdict, _ = checked(table)
    assert all(len(finding.cells()) == 7 for finding in verdict.findings)
    told = json.loads(json.dumps(verdict.as_dict()))
    assert told["broken"] is False and told["sets"][0]["dataset"] == "table"


@NEEDS_DATA
def test_the_214_films_at_hand_are_counted_and_108_are_missing():
    root = Path(os.environ["SECONDREADER_TEST_DATA"]) / "mini-mias"
    verdict = verify([datasets.scan("mini_mias", root)])
    found = {finding.check: finding for finding in verdict.findings}
    assert verdict.broken
    assert (found["images"].got, found["images"].count) == ("214", 108)
    assert (found["patients"].got, found["patients"].count) == ("107", 54)
    assert found["absent film"].count == 108 and found["absent film"].state == "note"
    assert found["no region"].files == ("Info.txt:260",)


@NEEDS_DATA
@pytest.mark.slow
def test_the_films_at_hand_are_all_readable_and_no_two_alike():
    root = Path(os.environ["SECONDREADER_TEST_DATA"]) / "mini-mias"
    found = [datasets.scan("mini_mias", root)]
    verdict = verify(found, images=image_set(found))
    found = {finding.check: finding for finding in verdict.findings}
    assert found["readable images"].got == "214"
    for check in ("one image twice", "one image of two patients", "lesions inside their image"):
        assert found[check].state == "ok"
    assert found["side by its chest wall"].count <= 3


def test_an_oblique_breast_called_cc_is_told(table, png):
    rows, cols = np.indices((320, 256))
    wide = (255 - cols) < 200 - rows * 0.55  # widest at the upper edge, as the muscle makes it
    noise = np.random.default_rng(0).integers(0, 80, (320, 256))
    png(table / "0.png", np.where(wide, 1000 + noise, 0).astype(np.uint16))
    text = (table / "images.csv").read_text().splitlines()
    lines = [f"{text[0]},view", *(f"{line},CC" for line in text[1:])]
    (table / "images.csv").write_text("\n".join(lines))
    verdict, found = checked(table)
    assert found["view by its outline"].files == ("0.png",) and not verdict.broken
