"""Two views of one place: who is whose other view, where a place is looked for, what it adds."""

import importlib

import numpy as np
import pytest
import torch

from secondreader import geometry
from secondreader.domain import (
    Circle,
    Detection,
    Frame,
    ImageReading,
    ImageSource,
    Kind,
    Laterality,
    Lesion,
    Mammogram,
    Part,
    Pathology,
    SecondReaderError,
    View,
)
from secondreader.evaluation.figures import Figure
from secondreader.learning.hardware import Hardware
from secondreader.learning.model_folder import save_model
from secondreader.methods.tissue_heatmap import Config, figures, load, views
from secondreader.methods.tissue_heatmap.data import Small, extent_mm, patches
from secondreader.methods.tissue_heatmap.held_out import held_out
from secondreader.methods.tissue_heatmap.local import answers, inside, seen
from secondreader.methods.tissue_heatmap.network import (
    PLACES,
    Aggregated,
    HeatmapNet,
    Pair,
    Tissue,
)
from secondreader.methods.tissue_heatmap.two_views import linked
from secondreader.methods.tissue_heatmap.views import (
    opposite,
    other_views,
    pairs,
    partners,
    together,
)
from secondreader.methods.tissue_heatmap.whole import _heat_figures

training = importlib.import_module("secondreader.methods.tissue_heatmap.train")
SMALL = Config(
    spacing_mm=0.4, canvas_mm=None, patch=64, surround=0, stride=32, widths=(4, 4, 8, 8, 8), small=128,
    heat_width=4, views="both", two_views=True, trains="tissue", pair_width=4, largest_mm=40,
)  # fmt: skip
R, L = Laterality.R, Laterality.L


class Record:
    """What is asked of a record here."""

    dataset = exam_id = "e"

    def __init__(self, path, side=L, view=View.CC, patient="p"):
        self.path, self.laterality, self.view, self.patient_id = path, side, view, patient
        self.malignant, self.density = None, "B"


class Images:
    """Prepared images that lie in memory, and what is true of them."""

    def __init__(self, arrays, lesions, records):
        self.arrays, self.lesions, self.records = arrays, tuple(map(tuple, lesions)), records
        self.frames = [geometry.identity(array.shape) for array in arrays]
        for record, own in zip(records, self.lesions, strict=True):
            record.lesions = getattr(record, "lesions", own)

    def __len__(self):
        return len(self.arrays)

    def pixels(self, index):
        return self.arrays[index]


def breast(tip, rows=320, cols=256):
    """A breast whose nipple lies in column ``tip`` (about), chest wall on the left."""
    r, c = np.mgrid[0:rows, 0:cols]
    return np.where(np.hypot((r - rows / 2) / (rows / 2), c / tip) < 1, 0.4, 0).astype(np.float32)


def lesion(row, col, name="a", radius=10, **more):
    return Lesion(name, Kind.MASS, Circle(row, col, radius), **more)


def two_views(one=(), two=()):
    """Both views of a breast of the same depth, but for 32 pixels that MLO shows more of."""
    records = [Record("cc"), Record("mlo", view=View.MLO)]
    return Images([breast(200), breast(232)], [one, two], records)


def pair_of(config=SMALL):
    torch.manual_seed(0)
    tissue = Tissue(config.widths, config.patch, config.stride, config.surround).train()
    for _ in range(3):
        tissue(torch.rand(4, 1, 64, 64))
    pair = Pair(tissue.eval(), config.pair_width)
    torch.nn.init.normal_(pair.layers[2].weight)  # it has learnt something
    return pair.eval()


def test_cc_and_mlo_of_one_breast_are_each_others_and_nothing_else_is():
    views = [
        (L, View.CC),
        (R, View.MLO),
        (L, View.MLO),
        (R, View.CC),
        (None, View.CC),
        (L, View.ML),
    ]
    assert opposite(views) == [2, 3, 0, 1, None, None]
    records = [Record("a"), Record("b", view=View.MLO, patient="q"), Record("c", view=View.MLO)]
    assert other_views(records).tolist() == [2, -1, 0]


def test_a_place_is_looked_for_as_deep_behind_the_nipple_where_it_looks_most_like_a_finding():
    own, other = breast(200), breast(232)
    local = np.zeros((9, 7), np.float32)
    local[5, 3] = 0.9  # its middle lies in column 128, 104 behind the nipple
    local[2, 6] = 0.95  # higher, but in column 224
    holds = np.ones(local.shape, bool)
    found = partners(6, own, other, local, holds, SMALL)
    # Column 2 of this view has its middle in column 96, 104 behind the nipple: as deep, exactly.
    assert found[2].tolist() == [5, 3]
    assert found[5].tolist() == [2, 6]
    holds[:, 2:5] = False
    assert partners(6, own, other, local, holds, SMALL)[2].tolist() == [-1, -1]


def test_findings_are_paired_by_their_ids_and_hidden_ones_are_known():
    images = two_views(
        [lesion(100, 90), lesion(200, 60, "b"), lesion(250, 50, "c", visible=False)],
        [
            lesion(120, 122),
            lesion(210, 92, "b", visible=False),
            lesion(280, 80, "c", visible=False),
        ],
    )
    zeros = [np.zeros((9, 7), np.float32)] * 2
    made = pairs(patches(images, SMALL), zeros, [z >= 0 for z in zeros], SMALL)
    # a is seen in both, b in CC only; c, seen in neither, teaches nothing.
    assert made.positive.tolist() == [[0, 100, 90], [0, 200, 60], [1, 120, 122], [1, 210, 92]]
    assert made.by_ids.tolist() == [[1, 120, 122], [-1, -1, -1], [0, 100, 90], [0, 200, 60]]
    assert made.hidden.tolist() == [False, False, False, True]
    batch = made.batch(0, 8, SMALL)
    assert batch["image"].shape == batch["other"].shape
    assert batch["label"].sum() == 4 and len(batch["where"]) == 8
    assert torch.equal(batch["image"], made.batch(0, 8, SMALL)["image"])


def test_two_views_are_validated_as_they_are_read_without_ids():
    images = two_views([lesion(100, 90)], [lesion(120, 122)])
    local = [np.zeros((9, 7), np.float32) for _ in range(2)]
    made = pairs(patches(images, SMALL), local, [a >= 0 for a in local], SMALL)
    exact, rule = (made.batch(0, 8, SMALL, ids=ids) for ids in (True, False))
    assert torch.equal(exact["image"], rule["image"]) and torch.equal(exact["label"], rule["label"])
    assert made.batch(0, 8, SMALL, ids=False)["other"].equal(rule["other"])


def test_in_training_the_second_patches_of_findings_and_of_background_are_found_and_moved_alike(
    monkeypatch,
):
    images = two_views([lesion(100, 90)], [lesion(120, 122)])
    local = [np.zeros((9, 7), np.float32) for _ in range(2)]
    local[0][8, 3] = local[1][8, 3] = 0.9  # what looks most like a finding lies far below it
    made = pairs(patches(images, SMALL), local, [a >= 0 for a in local], SMALL)
    cuts = []
    monkeypatch.setattr(views, "cut_out", lambda _, where, size: cuts.append(where))
    label = np.concatenate([made.batch(s, 32, SMALL)["label"].numpy() for s in range(20)]) == 1
    own, other = (np.concatenate(cuts[i::2]) for i in (0, 1))
    exact = made.by_ids[(own[:, 0] == 1).astype(int)][:, 1:]
    by_ids = (np.abs(other[:, 1:] - exact) <= SMALL.offset).all(1)
    assert 0.4 < by_ids[label].mean() < 0.6 and not by_ids[~label].any()
    for kind in (by_ids & label, ~by_ids & label, ~label):
        rule = made.partner(own[kind], SMALL)
        away = other[kind][:, 1:] - np.where(by_ids[kind, None], exact[kind], rule[:, 1:])
        assert np.abs(away).max() <= SMALL.offset and np.abs(away).mean() > SMALL.offset / 3


def test_background_is_paired_by_the_rule_that_a_reader_has():
    images = two_views([lesion(100, 90)], [lesion(120, 122)])
    local = [np.zeros((9, 7), np.float32) for _ in range(2)]
    local[1][5, 3] = 0.9
    made = pairs(patches(images, SMALL), local, [a >= 0 for a in local], SMALL)
    found = made.partner(np.array([[0, 300, 96], [0, 10, 90], [1, 10, 128]]), SMALL)
    assert found[:2].tolist() == [[1, 192, 128]] * 2
    assert found[2, 0] == 0


def test_without_another_view_two_views_say_exactly_what_one_says():
    pair = pair_of()
    image = np.random.default_rng(0).random((200, 160)).astype(np.float32)
    known = seen(pair.tissue, image, SMALL)
    one = answers(pair.tissue, image, SMALL)
    assert np.array_equal(together(pair, known, None, np.zeros((0, 2), int)), one)
    nowhere = np.full((one.shape[1], 2), -1)
    assert np.array_equal(together(pair, known, known, nowhere), one)
    nowhere[1] = 0, 0
    changed = together(pair, known, known, nowhere) != one
    assert changed[:, 1].any() and not changed[:, [0, 2, 3]].any()


def test_what_two_views_say_of_a_place_is_what_the_network_says_of_its_patches():
    pair = pair_of()
    own, other = torch.rand(1, 1, 64, 64), torch.rand(1, 1, 64, 64)
    at = np.array([[0, 0]])
    with torch.no_grad():
        wanted = float(torch.sigmoid(pair(own, other)))
        maps = [seen(pair.tissue, p[0, 0].numpy(), SMALL) for p in (own, other)]
    assert together(pair, *maps, at)[0, 0] == pytest.approx(wanted, abs=1e-6)


def test_training_two_views_leaves_the_classifier_of_one_as_it_was():
    pair = pair_of().train()
    assert not pair.tissue.training and pair.layers.training
    pair(torch.rand(2, 1, 64, 64), torch.rand(2, 1, 64, 64)).sum().backward()
    assert all(p.grad is None for p in pair.tissue.parameters())
    assert all(p.grad is not None for p in pair.layers.parameters())


@pytest.fixture
def reader(tmp_path):
    pair = pair_of()
    weights = {f"tissue.{k}": v for k, v in pair.tissue.state_dict().items()}
    weights |= {f"pair.{k}": v for k, v in pair.layers.state_dict().items()}
    save_model(tmp_path, method="tissue_heatmap", config=SMALL, weights=weights)
    return load(tmp_path)


def view(tip, kind, side=L):
    pixels = np.pad(breast(tip), ((8, 8), (0, 24)))
    grain = np.random.default_rng(1).normal(0, 0.02, pixels.shape)
    pixels = np.where(pixels > 0, pixels + grain, 0).astype(np.float32)
    return Mammogram(pixels, (0.25, 0.25), side, kind, ImageSource(str(kind)))


def test_an_exam_is_read_with_both_views_and_an_image_alone_with_one(reader):
    cc, mlo = view(200, View.CC), view(232, View.MLO)
    both = reader.read_exam([cc, mlo])
    alone = [reader.read(image) for image in (cc, mlo)]
    assert [b.score != a.score for b, a in zip(both, alone, strict=True)] == [True, True]
    (one,) = reader.read_exam([cc])
    assert one.score == alone[0].score
    other_side = reader.read_exam([cc, view(232, View.MLO, R)])
    assert [r.score for r in other_side] == [a.score for a in alone]
    blank = Mammogram(np.zeros((300, 200), np.float32), (0.25, 0.25), L, View.MLO, ImageSource("x"))
    refused = reader.read_exam([cc, blank])
    assert refused[0].score == alone[0].score and refused[1].refused[0] == "no-breast"


def test_detections_that_ask_for_each_other_are_linked_and_no_others():
    def reading(*places):
        found = [Detection(Kind.SUSPICIOUS_REGION, Circle(r, c, 5), 0.9) for r, c in places]
        return ImageReading(ImageSource("x"), 0.9, None, tuple(found))

    one, two = np.full((7, 2), -1), np.full((7, 2), -1)
    one[2] = 5, 3  # place (5, 3) has its middle at (192, 128)
    two[3] = 2, 2  # and (2, 2) at (96, 96)
    frames = (geometry.identity((320, 256)),) * 2
    views_ = reading((100, 96), (100, 190)), reading((60, 130), (190, 130), (192, 10))
    got = linked(views_, frames, (one, two), SMALL, "1+2")
    assert [d.link for d in got[0].detections] == ["1+2/1", None]
    # The first of the other view asks for the same place, but is not asked for.
    assert [d.link for d in got[1].detections] == [None, "1+2/1", None]
    far = linked((reading((100, 96)), reading((230, 130))), frames, (one, two), SMALL, "1+2")
    assert [d.link for r in far for d in r.detections] == [None, None]
    none = linked((reading((100, 96)), reading()), frames, (one, two), SMALL, "1+2")
    assert none[0].detections[0].link is None


# ------------------------------------------------------------------------------ figures


def patch_images():
    """Twelve women, each with a finding, brighter than the rest but for the first woman's."""
    arrays, lesions, records = [], [], []
    for number in range(12):
        array = breast(220)
        if number:
            array[98:122, 68:92] = 0.9
        arrays.append(array)
        lesions.append([lesion(109.5, 79.5, radius=20)])
        records.append(Record(str(number), patient=str(number)))
    return Images(arrays, lesions, records)


class Bright(Tissue):
    """Says that a patch holds a finding where it is bright; empty places are as tissue is."""

    def forward(self, image):
        return (image.amax((1, 2, 3)).clamp(min=0.4) - 0.65) * 20


def test_held_out_patches_are_measured_as_table_2_does(monkeypatch):
    images = patch_images()
    monkeypatch.setattr(figures, "ready", lambda images, config: images)
    config = SMALL.model_copy(update={"two_views": False})
    reader = figures.TissueHeatmap(
        config, Bright(config.widths, config.patch, config.stride).eval()
    )
    known = {"reader": "r", "resamples": 100, "seed": 0}
    got, curves = figures.own(reader, {Part.TEST: images}, Part.TEST, **known)
    told = {f.name: f for f in got if not f.group and f.method != "count"}
    shares = [told[f"{n}_share"].value for n in ("true_positive", "false_positive", "true_negative",
                                                 "false_negative")]  # fmt: skip
    assert shares == pytest.approx([11 / 24, 0, 12 / 24, 1 / 24])
    assert told["error"].value == pytest.approx(1 / 24)
    # Eleven of twelve above all background, one among it: ties count half.
    assert told["auc"].value == pytest.approx((11 + 0.5) / 12)
    assert (told["error"].positives, told["error"].negatives, told["error"].patients) == (
        12,
        12,
        12,
    )
    assert any(c.level == "patch" and c.kind == "roc" for c in curves)
    parts = {f.group: f for f in got if f.group}
    assert parts["kind=mass"].value == parts["breast=fatty"].value == told["auc"].value
    assert parts["kind=cluster"].value is None and parts["breast=dense"].note
    counts = {(f.level, f.name): f.value for f in got if f.method == "count"}
    assert counts["patch", "positives"] == counts["test_patch", "negatives"] == 12


def test_where_nothing_is_annotated_there_is_no_figure_but_a_reason(monkeypatch):
    monkeypatch.setattr(figures, "ready", lambda images, config: images)
    config = SMALL.model_copy(update={"two_views": False})
    reader = figures.TissueHeatmap(
        config, Bright(config.widths, config.patch, config.stride).eval()
    )
    empty = Images([breast(200)], [[]], [Record("x")])
    known = {"reader": "r", "resamples": 100, "seed": 0}
    got, _ = figures.own(reader, {Part.TEST: empty}, Part.TEST, **known)
    measured = [f for f in got if f.method != "count"]
    assert measured and all(isinstance(f, Figure) and f.value is None and f.note for f in measured)


class Silent(HeatmapNet):
    """Predicts no heat anywhere."""

    def forward(self, image, local):
        return torch.zeros(len(image), 1, PLACES, PLACES)


def with_malignant(number):
    """Images of which so many hold what is malignant, answers of nothing for each, and settings."""
    images = patch_images()
    for own in images.lesions[:number]:
        object.__setattr__(own[0], "pathology", Pathology.MALIGNANT)
    config = SMALL.model_copy(update={"two_views": False, "trains": "baseline"})
    return images, [np.zeros((9, 7), np.float32)] * 12, config


def heat_errors(images, local, config):
    tissue = Bright(config.widths, config.patch, config.stride).eval()
    reader = figures.TissueHeatmap(config, tissue, Aggregated(), Silent(4, False, 128))
    return figures.heatmap_errors(reader, images, local)


def test_a_heatmap_without_heat_is_wrong_by_the_mean_square_of_the_annotations():
    images, local, config = with_malignant(6)
    errors, zeros, women = heat_errors(images, local, config)
    target = Small.of(images, local, config).target
    assert errors == pytest.approx((target**2).mean((1, 2, 3)).numpy())
    assert (errors[:6] > 0).all() and (errors[6:] == 0).all()
    assert zeros == pytest.approx(errors)  # of the same images in the same order
    assert women == [str(n) for n in range(12)]


def test_as_many_images_with_heat_as_without_are_measured_and_weigh_alike_in_validation():
    images, local, config = with_malignant(2)
    errors, zeros, women = heat_errors(images, local, config)
    assert len(errors) == len(zeros) == 4 and zeros == pytest.approx(errors)
    assert len(errors) == 4 and women[:2] == ["0", "1"] and (errors > 0).sum() == 2
    held = Small.of(images, local, config)
    found = _heat_figures(Silent(4, False, 128), held)
    assert found["heatmap_mse"] == pytest.approx(float((held.target[:2] ** 2).mean()) / 2)
    assert found["heatmap_mse"] == pytest.approx(errors.mean())
    assert found["zero_map_mse"] == pytest.approx(found["heatmap_mse"])


def test_of_single_views_two_views_have_no_figure_but_a_reason(monkeypatch):
    images = patch_images()
    monkeypatch.setattr(figures, "ready", lambda images, config: images)
    tissue = Bright(SMALL.widths, SMALL.patch, SMALL.stride).eval()
    reader = figures.TwoViews(SMALL, Pair(tissue, SMALL.pair_width))
    known = {"reader": "r", "resamples": 100, "seed": 0}
    got, _ = figures.own(reader, {Part.TEST: images}, Part.TEST, **known)
    (gain,) = [f for f in got if f.name == "auc_gain"]
    assert gain.value is None and "two views" in gain.note


def test_the_held_out_patches_are_drawn_once_and_as_many_of_each():
    got, again = (held_out(patch_images(), SMALL) for _ in range(2))
    assert np.array_equal(got.where, again.where) and got.names == again.names
    assert got.label.sum() * 2 == len(got.label) and len(set(got.names)) == len(got.names)
    assert [lesion is not None for lesion in got.findings] == got.label.tolist()


def test_the_same_places_are_held_out_at_every_magnification_away_from_all_findings():
    images = patch_images()
    fine = Images(
        [np.kron(a, np.ones((2, 2), np.float32)) for a in images.arrays],
        [[lesion(219.5, 159.5, radius=40)] for _ in images.arrays],
        images.records,
    )
    # Pixels of half the size: two of theirs lie where one of the source's does.
    fine.frames = [
        Frame(a.shape, images.arrays[0].shape, (-0.25, -0.25), (0.5, 0.5)) for a in fine.arrays
    ]
    twice = SMALL.model_copy(update={"patch": 32})
    half = SMALL.model_copy(update={"spacing_mm": 0.2, "patch": 64})
    coarse, other = held_out(images, twice), held_out(fine, half)
    assert coarse.names == other.names and coarse.label.sum() == 12
    # As wide too, to the last digit: their boxes on the two grids are not.
    wide = [
        [extent_mm(of, 0, of.lesions[0][0], config)]
        for of, config in ((images, twice), (fine, half))
    ]
    assert wide[0] == wide[1] == [16.0]
    middles = (coarse.where[:, 1:] + 0.5) * 2 - 0.5
    assert np.abs(other.where[:, 1:] - middles).max() <= 2
    for _, row, col in coarse.where[~coarse.label].tolist():
        r, c = np.mgrid[row - 23 : row + 23, col - 23 : col + 23]  # 18.4 mm
        assert (np.hypot(r - 109.5, c - 79.5) > 20).all()


def test_inside_is_where_breast_is():
    image = np.zeros((128, 128), np.float32)
    image[:, :40] = 0.5
    found = inside(image, SMALL, (3, 3))
    assert found[:, 0].all() and not found[:, 2].any()


def test_what_is_built_on_another_model_takes_its_classifier_as_it_is(tmp_path):
    tissue = pair_of().tissue
    base = SMALL.model_copy(update={"two_views": False})
    weights = {f"tissue.{k}": v for k, v in tissue.state_dict().items()}
    save_model(tmp_path / "model", method="tissue_heatmap", config=base, weights=weights)
    config = SMALL.model_copy(update={"trains": "heatmap", "init": str(tmp_path)})
    taken = training._tissue([], config, tmp_path / "run", Hardware("cpu"))
    for name, value in taken.state_dict().items():
        assert torch.equal(value, tissue.state_dict()[name])
    for name, got, wanted in (
        ("spacing_mm", 0.4, 0.2), ("patch", 64, 96), ("stride", 32, 64), ("canvas_mm", None, 92.0),
        ("surround", 0, 32),
    ):  # fmt: skip
        other = config.model_copy(update={name: wanted})
        with pytest.raises(SecondReaderError, match=f"{name}={got}, expected {wanted}"):
            training._tissue([], other, tmp_path / "run", Hardware("cpu"))
