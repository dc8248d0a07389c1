"""Tissue over whole images, the nipple, the heatmap's places, and saliency inside it."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from secondreader import geometry
from secondreader.domain import (
    Circle,
    ImageSource,
    Kind,
    Lesion,
    Mammogram,
    Pathology,
    SecondReaderError,
    View,
)
from secondreader.learning import augment as moving
from secondreader.learning.model_folder import save_model
from secondreader.learning.patches import cut
from secondreader.methods.tissue_heatmap import Config, load
from secondreader.methods.tissue_heatmap.data import (
    Small,
    augmented,
    middle,
    patches,
    places_of,
    shrunk,
    warmed,
)
from secondreader.methods.tissue_heatmap.local import answers, entropy, inside, middles, saliency
from secondreader.methods.tissue_heatmap.network import PLACES, Aggregated, HeatmapNet, Tissue
from secondreader.methods.tissue_heatmap.prepare import nipple, prepare
from secondreader.methods.tissue_heatmap.reader import TissueHeatmap

SMALL = Config(
    spacing_mm=0.2, canvas_mm=None, patch=64, surround=0, stride=32, widths=(4, 4, 8, 8, 8),
    small=128, heat_width=4, views="both",
)  # fmt: skip
NONE = moving.AugmentSettings(
    flips=False, turns=False, rotation=0, shear=0, zoom=0, elastic=0, shift=0, gain=0
)


class Images:
    """Prepared images that lie in memory, and what is true of them."""

    def __init__(self, arrays, lesions, views=None):
        self.arrays, self.lesions = arrays, tuple(map(tuple, lesions))
        views = views or [View.CC] * len(arrays)
        self.records = [
            type("Record", (), {"path": str(i), "view": v, "lesions": own})
            for i, (v, own) in enumerate(zip(views, self.lesions, strict=True))
        ]
        self.frames = [geometry.identity(array.shape) for array in arrays]

    def __len__(self):
        return len(self.arrays)

    def pixels(self, index):
        return self.arrays[index]


def lesion(row, col, radius, pathology=Pathology.MALIGNANT, kind=Kind.MASS, name="", **more):
    return Lesion(name, kind, Circle(row, col, radius), pathology=pathology, **more)


def trained_once(config=SMALL):
    """A classifier whose batch normalisation has seen something, so that it is not the identity."""
    torch.manual_seed(0)
    network = Tissue(config.widths, config.patch, config.stride, config.surround).train()
    for _ in range(3):
        network(torch.rand(4, 1, 64, 64))
    return network.eval()


# ------------------------------------------------------------------------------ tissue


def test_the_strips_of_an_image_are_the_image_in_one_pass():
    network = trained_once()
    image = np.random.default_rng(0).random((1200, 200)).astype(np.float16)
    got = answers(network, image, SMALL)
    rows, cols = got.shape
    wide = np.zeros(((rows - 1) * 32 + 64, (cols - 1) * 32 + 64), np.float32)
    wide[:1200, :200] = image
    with torch.no_grad():
        whole = network.called(network.local(torch.from_numpy(wide)[None, None]))
        whole = torch.sigmoid(whole)[0].numpy()
    assert got.shape == whole.shape == (37, 6)
    assert np.allclose(got, whole, atol=1e-4)


def test_a_patch_with_all_that_reaches_it_is_called_as_in_one_pass():
    """Five blocks of two convolutions and a pooling reach less than 96 pixels round a place."""
    network = trained_once()
    image = torch.from_numpy(np.random.default_rng(1).random((1, 1, 384, 384)).astype(np.float32))
    with torch.no_grad():
        whole = network.called(network.local(image))
        for surround, alike in ((96, True), (0, False)):
            size = SMALL.patch + 2 * surround
            top = 5 * SMALL.stride - surround  # the patch of place (5, 5)
            crop = network(image[..., top : top + size, top : top + size])
            assert torch.allclose(crop, whole[:, 5, 5], atol=1e-4) is alike


def test_every_patch_of_one_pass_is_called_as_its_own_crop_at_the_border_too():
    """With all that reaches it in the crop: beyond the image both see the same nothing."""
    wide = SMALL.model_copy(update={"surround": 96})
    network = trained_once(wide)
    prepared = np.random.default_rng(4).random((210, 150)).astype(np.float32)
    found = answers(network, prepared, wide)
    places = np.argwhere(np.ones(found.shape, bool))
    crops = [cut(prepared, r, c, wide.seen) for r, c in middles(places, wide).tolist()]
    with torch.no_grad():
        slid = torch.sigmoid(network(torch.from_numpy(np.stack(crops))[:, None])).numpy()
    assert np.allclose(found.ravel(), slid, atol=1e-5)


def test_an_image_smaller_than_a_patch_is_one_patch():
    assert answers(trained_once(), np.full((40, 30), 0.5, np.float16), SMALL).shape == (1, 1)


@given(st.floats(-20, 20, width=32))
def test_entropy_is_that_of_a_binary_answer(logit):
    p = 1 / (1 + np.exp(-np.float64(logit)))
    wanted = -sum(v * np.log(v) for v in (p, 1 - p) if v > 0)
    assert float(entropy(torch.tensor([logit]))) == pytest.approx(wanted, abs=1e-5)


def test_saliency_is_the_slope_of_the_entropy_at_its_place_in_the_image():
    network = trained_once()
    image = np.random.default_rng(2).random((160, 128)).astype(np.float32)
    tile = np.array([[1, 2]])
    found = saliency(network, image, tile, SMALL)
    assert (found[:32] == 0).all() and (found[96:] == 0).all() and (found[:, :64] == 0).all()
    crop = torch.from_numpy(image[32:96, 64:128].copy())[None, None]
    step = 1e-3
    with torch.no_grad():
        for row, col in ((30, 30), (10, 50)):
            other = crop.clone()
            other[0, 0, row, col] += step
            slope = float((entropy(network(other)) - entropy(network(crop))) / step)
            assert found[32 + row, 64 + col] == pytest.approx(abs(slope), rel=0.2, abs=2e-5)
    even = saliency(network, image, tile, SMALL, alike=True)
    assert even.sum() == pytest.approx(1) and np.allclose(even * found.sum(), found, atol=1e-6)
    both = saliency(network, image, np.array([[1, 2], [0, 0]]), SMALL)
    assert np.allclose(both[96:], 0) and both.sum() > found.sum()


def test_saliency_of_what_lies_round_a_tile_is_at_its_place_too():
    """The same slope as of the wider crop; beyond the image there is none to be had."""
    wide = SMALL.model_copy(update={"surround": 32})
    network = trained_once(wide)
    image = np.random.default_rng(2).random((192, 160)).astype(np.float32)
    for (top, left), place in (((0, 0), (1, 1)), ((-32, -32), (0, 0))):
        found = saliency(network, image, np.array([place]), wide)
        crop = torch.zeros(1, 1, 128, 128)
        rows, cols = max(top, 0), max(left, 0)
        there = torch.from_numpy(image[rows : top + 128, cols : left + 128].copy())
        crop[0, 0, rows - top :, cols - left :] = there
        crop.requires_grad_()
        entropy(network(crop)).sum().backward()
        wanted = np.zeros_like(image)
        wanted[rows : top + 128, cols : left + 128] = crop.grad[0, 0].abs()[
            rows - top :, cols - left :
        ]
        assert np.allclose(found, wanted, atol=1e-6) and wanted.sum() > 0


# ------------------------------------------------------------------------------ image and heatmap


def test_an_image_is_called_by_its_breast_and_first_by_its_surest_place():
    torch.manual_seed(0)
    network = Aggregated()
    local = torch.full((2, 5, 4), -4.0)
    local[0, 2, 2] = 4.0  # breast
    local[1, 0, 3] = 4.0  # outside
    breast = torch.ones(2, 5, 4, dtype=torch.bool)
    breast[:, 0] = False
    with torch.no_grad():
        found = network(local, breast)
    assert found[0] > found[1] + 0.2
    assert ((found > 0) & (found < 1)).all()


def test_an_image_is_called_the_same_alone_and_in_a_batch_of_larger_ones():
    torch.manual_seed(0)
    network = Aggregated()
    local, breast = torch.randn(1, 6, 4), torch.ones(1, 6, 4, dtype=torch.bool)
    breast[0, 0] = False
    wide, inside = torch.zeros(2, 9, 7), torch.zeros(2, 9, 7, dtype=torch.bool)
    wide[0, :6, :4], inside[0, :6, :4], inside[1] = local[0], breast[0], True
    with torch.no_grad():
        assert network(wide, inside)[0] == pytest.approx(float(network(local, breast)[0]))
        # And its place counts: the same answer elsewhere is another.
        turned = network(local.flip(1), breast.flip(1)) - network(local, breast)
    assert abs(float(turned[0])) > 1e-4


@pytest.mark.parametrize("size", [64, 128, 256])
@pytest.mark.parametrize("local", [False, True])
def test_the_heatmap_has_32_places_each_way_and_hears_the_local_answers(size, local):
    torch.manual_seed(0)
    network = HeatmapNet(4, local, size).eval()
    image = torch.rand(1, 1, size, size)
    one, two = torch.zeros(1, 1, PLACES, PLACES), torch.ones(1, 1, PLACES, PLACES)
    with torch.no_grad():
        assert network(image, one).shape == (1, 1, PLACES, PLACES)
        assert bool((network(image, one) != network(image, two)).any()) is local


@settings(deadline=None, max_examples=20)
@given(st.integers(150, 400), st.integers(100, 300), st.integers(0, 99))
def test_answers_come_to_lie_where_their_patches_lie(rows, cols, seed):
    rng = np.random.default_rng(seed)
    image = np.zeros((rows, cols))
    row, col = int(rng.integers(64, rows - 64 + 1)), int(rng.integers(32, cols - 32))
    image[max(row - 8, 0) : row + 8, max(col - 8, 0) : col + 8] = 1
    grid = [max((side - 64 + 31) // 32, 0) + 1 for side in (rows, cols)]
    local = np.array(
        [[image[r * 32 : r * 32 + 64, c * 32 : c * 32 + 64].sum() for c in range(grid[1])]
         for r in range(grid[0])]
    )  # fmt: skip
    found = places_of(local, (rows, cols), SMALL)
    side = max(rows, cols) / PLACES
    high = np.argwhere(found >= found.max() - 1e-6).mean(0) * side + side / 2
    assert np.abs(high - (row, col)).max() < 40


def test_targets_are_blurred_annotations_of_malignant_findings_on_the_views_that_count():
    array = np.full((320, 256), 0.4, np.float16)
    own = Images(
        [array] * 3,
        [[lesion(80, 120, 15), lesion(250, 50, 20, Pathology.BENIGN)], [], [lesion(80, 120, 15)]],
        [View.CC, View.CC, View.MLO],
    )
    local = [np.zeros((9, 7), np.float32)] * 3
    both = Small.of(own, local, SMALL)
    assert len(both.paths) == 3
    cc = Small.of(own, local, SMALL.model_copy(update={"views": "cc"}))
    assert cc.paths == ("0", "1")
    at = np.argwhere(cc.target[0, 0].numpy() > 0.9).mean(0)
    assert (at + 0.5) * 10 == pytest.approx((80, 120), abs=6)
    assert cc.target[0, 0, 25, 5] < 0.01 and cc.target[1].max() == 0
    assert cc.image[0, 0, :, 103:].max() == 0  # 256 columns of 320 are 102.4 of 128
    batch = cc.batch(0, 8, SMALL)
    assert sum(float(t.max()) > 0 for t in batch["target"]) == 4


def test_whole_images_are_mirrored_in_rows_only_and_only_where_a_breast_may_look_so():
    tall, wide = np.full((320, 256), 0.4, np.float16), np.full((200, 256), 0.4, np.float16)
    places = [[lesion(80, 120, 15)]] * 3
    own = Images([tall, tall, wide], places, [View.CC, View.MLO, View.CC])
    made = Small.of(own, [np.zeros((9, 7), np.float32)] * 3, SMALL)
    assert made.mirrors.tolist() == [True, False, False]
    batch = made.batch(0, 60, SMALL)
    for target, path in zip(batch["target"], batch["where"], strict=True):
        as_it_is = made.target[int(path)]
        turned = torch.equal(target, as_it_is.flip(1)) and path == "0"
        assert turned or torch.equal(target, as_it_is)
    up = [torch.equal(t, made.target[0].flip(1)) for t in batch["target"]]
    assert 0 < sum(up) < batch["where"].count("0")


def test_heat_and_answers_move_with_the_whole_image():
    image = torch.zeros(1, 1, 128, 128)
    image[..., 32:48, 80:96] = 0.5  # four places each way
    heat = torch.zeros(1, 1, PLACES, PLACES)
    heat[..., 8:12, 20:24] = 1
    little = SMALL.heat_augment.model_copy(
        update={"rotation": 30, "zoom": 0.2, "shift": 0, "gain": 0}
    )
    config = SMALL.model_copy(update={"heat_augment": little})
    for seed in range(4):
        batch = {"image": image, "target": heat, "local": heat, "where": ["a"]}
        got = warmed(batch, torch.Generator().manual_seed(seed), config)
        middle = [
            (torch.nonzero(got[name][0, 0] > 0.2).double().mean(0) + 0.5) / got[name].shape[-1]
            for name in ("image", "target")
        ]
        assert torch.allclose(*middle, atol=0.02)
        assert torch.equal(got["target"], got["local"])
        assert not torch.equal(got["target"], heat)


def test_a_shrunk_image_keeps_its_shape():
    small, scale = shrunk(np.ones((400, 100), np.float16), 128)
    assert scale == 400 / 128
    assert small[:, :32].min() > 0.9 and small[:, 33:].max() == 0


# ------------------------------------------------------------------------------ patches


def test_positives_are_findings_that_fit_and_negatives_touch_none():
    array = np.full((320, 256), 0.4, np.float16)
    array[:, 200:] = 0
    own = [
        lesion(100, 90, 12), lesion(250, 60, 70), lesion(180, 160, 8, None, Kind.ASYMMETRY),
        lesion(30, 30, 4, visible=False), lesion(30, 150, 2, kind=Kind.MICROCALCIFICATION),
    ]  # fmt: skip
    reach = (64 + moving.margin(SMALL.augment, 64)) // 2
    assert reach > 44  # turned by 20 degrees and a tenth smaller, a patch of 64 takes in so much
    made = patches(Images([array], [own]), SMALL)
    positive = made.positive.at(np.arange(len(made.positive)))
    assert positive.tolist() == [[0, 100, 90], [0, 180, 160]]
    covered = np.zeros(array.shape, bool)
    for other in own:
        mask = geometry.rasterise(other.region, array.shape)
        r, c = mask.pixels.shape
        covered[mask.row0 : mask.row0 + r, mask.col0 : mask.col0 + c] |= mask.pixels
    negative = made.negative.at(np.arange(len(made.negative)))
    assert len(negative) > 5
    for _, r, c in negative.tolist():
        assert r % 32 == 0 and c % 32 == 0
        assert not covered[max(r - reach, 0) : r + reach, max(c - reach, 0) : c + reach].any()


# ------------------------------------------------------------------------------ preparation


def breast(rows=500, cols=320, right=False):
    r, c = np.mgrid[0:rows, 0:cols]
    inside_ = np.hypot((r - 0.6 * rows) / (0.3 * rows), c / (0.8 * cols)) < 1
    grain = np.random.default_rng(0).normal(0, 0.01, (rows, cols))
    pixels = np.where(inside_, 0.45 + grain, 0).astype(np.float32)
    return np.ascontiguousarray(pixels[:, ::-1]) if right else pixels


def mammogram(pixels, spacing=0.2):
    return Mammogram(pixels, spacing and (spacing, spacing), None, None, ImageSource("x", bits=12))


def test_the_nipple_is_the_point_furthest_from_the_chest_wall():
    found = nipple(breast() > 0.2, 0.2)
    assert found.row == pytest.approx(300, abs=3)
    assert found.col == pytest.approx(0.8 * 320, abs=6)
    assert found.sure > 0.5


def test_a_breast_that_is_cut_off_is_not_sure():
    mask = breast()[:, :180] > 0.2
    assert nipple(mask, 0.2).sure == 0
    flat = np.zeros((300, 100), bool)
    flat[20:280, :60] = True
    assert nipple(flat, 0.2).sure < 0.2


@pytest.mark.parametrize("right", [False, True])
def test_the_canvas_ends_at_the_nipple_whichever_way_the_breast_points(right):
    config = SMALL.model_copy(update={"canvas_mm": 40.0})
    pixels, frame = prepare(mammogram(breast(right=right)), config)
    assert pixels.shape == (200, 200)
    edge = geometry.to_source(frame, np.array([100.0, 199.0]))
    wanted = 0.8 * 320 if not right else 319 - 0.8 * 320
    assert edge == pytest.approx((300, wanted), abs=8)


# ------------------------------------------------------------------------------ the reader


def test_nothing_is_salient_outside_the_heatmap():
    class Left(HeatmapNet):
        def forward(self, image, local):
            heat = torch.zeros(1, 1, PLACES, PLACES)
            heat[..., :8, :8] = 1
            return heat

    reader = TissueHeatmap(
        SMALL.model_copy(update={"marked": 0.01}), trained_once(), None, Left(4, True, 128)
    )
    prepared = np.full((320, 256), 0.4, np.float16)
    local = answers(reader.tissue, prepared, SMALL)
    salient = reader.salient(prepared, local, inside(prepared, SMALL, local.shape))
    assert salient[:80, :80].max() > 0
    salient[:80, :80] = 0
    assert salient.max() == 0
    breast_ = inside(prepared, SMALL, local.shape)
    assert reader.salient(prepared, local, breast_, gated=False)[120:].max() > 0


@pytest.mark.parametrize("trains", ["tissue", "baseline", "heatmap"])
def test_a_folder_reads_whatever_it_was_trained_for(tmp_path, trains):
    torch.manual_seed(0)
    config = SMALL.model_copy(update={"trains": trains, "marked": 0.05})
    parts = {"tissue": trained_once()}
    if trains != "tissue":
        parts |= {"image": Aggregated(), "heatmap": HeatmapNet(4, trains == "heatmap", 128)}
    weights = {f"{p}.{k}": v for p, net in parts.items() for k, v in net.state_dict().items()}
    save_model(tmp_path, method="tissue_heatmap", config=config, weights=weights)
    reader = load(tmp_path)
    reading = reader.read(mammogram(breast()))
    assert reading.refused is None and 0 <= reading.score <= 1
    assert reading.heatmap.values.min() >= 0 and reading.heatmap.values.max() <= 1
    for d in reading.detections:
        row, col = geometry.centre(d.region)
        assert 0 <= row < 500 and 0 <= col < 320
        assert d.region.radius == pytest.approx(25)


@pytest.mark.parametrize(
    ("image", "code"),
    [(mammogram(breast(), None), "no-spacing"), (mammogram(breast(), 0.5), "too-coarse"),
     (mammogram(np.zeros((300, 200), np.float32)), "no-breast"),
     (mammogram(np.ones((8, 8), np.float32)), "no-breast")],
)  # fmt: skip
def test_what_it_cannot_read_it_refuses_with_a_reason(image, code):
    assert TissueHeatmap(SMALL, trained_once()).read(image).refused[0] == code


def test_without_a_folder_there_is_no_reader():
    with pytest.raises(SecondReaderError, match="secondreader train tissue_heatmap"):
        load(None)


@given(
    step=st.sampled_from([32, 64, 96]),
    patch=st.sampled_from([32, 64, 96, 160]),
    shape=st.tuples(st.integers(1, 400), st.integers(1, 400)),
    share=st.sampled_from([0, 0.05, 0.1, 0.15, 1]),
)
@settings(max_examples=60, deadline=None)
def test_a_patch_holds_breast_where_over_a_tenth_of_its_pixels_do(step, patch, shape, share):
    config = SMALL.model_copy(update={"stride": step, "patch": patch})
    prepared = (np.random.default_rng(0).random(shape) < share).astype(np.float32)
    places = tuple(max(-(-(side - patch) // step), 0) + 1 for side in shape)
    plain = np.zeros(places, bool)
    for row, col in np.ndindex(places):
        window = prepared[row * step : row * step + patch, col * step : col * step + patch]
        plain[row, col] = window.size > 0 and window.mean(dtype=float) > 0.1
    assert np.array_equal(inside(prepared, config, places), plain if plain.any() else ~plain)


def test_a_batch_holds_what_is_seen_round_its_patches_too():
    wide = SMALL.model_copy(update={"surround": 32, "offset": 0, "augment": NONE})
    image = np.random.default_rng(5).random((400, 300)).astype(np.float32)
    images = Images([image], [[lesion(200, 150, 10)]])
    of = patches(images, wide)
    assert len(of.positive) == 1
    batch = of.batch(0, 4, wide)
    seen_ = middle(batch["image"], wide)
    assert seen_.shape[-2:] == (128, 128)
    found = seen_[batch["label"] == 1][0, 0].numpy()
    assert np.array_equal(found, cut(image, 200, 150, 128))
    whole = augmented(batch, torch.Generator().manual_seed(0), wide)["image"]
    assert torch.allclose(whole, seen_, atol=1e-3)


def test_where_the_nipple_was_cut_off_the_square_lies_in_the_middle_of_the_edge():
    pixels = np.zeros((500, 300), np.float32)
    pixels[50:450, :150] = 0.5
    pixels[90:170, :] = 0.5  # out of the image on the right, far above the middle
    grain = np.random.default_rng(6).normal(0, 0.02, pixels.shape)
    pixels = np.where(pixels > 0, pixels + grain, 0).astype(np.float32)
    config = SMALL.model_copy(update={"canvas_mm": 40.0})

    def middle_row(pixels):
        mammogram = Mammogram(pixels, (0.2, 0.2), None, View.CC, ImageSource("x"))
        made = prepare(mammogram, config)
        assert made is not None and made[0].shape[0] == 200
        return geometry.to_source(made[1], np.array([[99.5, 0.0]]))[0, 0]

    assert middle_row(pixels) == pytest.approx(250, abs=4)
    # The same breast with room before it: its furthest point is sure enough, and is taken.
    whole = np.pad(pixels, ((0, 0), (0, 40)))
    whole[90:170, 300:] = 0
    assert middle_row(whole) < 160  # as near to it as a square fits
