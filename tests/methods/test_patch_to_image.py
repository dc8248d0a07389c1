"""Patches, the networks that are made of their classifier, and how both read."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.ensemble import RandomForestClassifier
from torchvision.models import resnet18, resnet50

from secondreader import geometry
from secondreader.domain import (
    Circle,
    ImageSource,
    Kind,
    Lesion,
    Mammogram,
    Mask,
    Pathology,
    SecondReaderError,
)
from secondreader.learning.model_folder import save_model
from secondreader.learning.trees import forest_arrays, forest_scores
from secondreader.methods import method
from secondreader.methods.patch_to_image import Config, load
from secondreader.methods.patch_to_image.architecture import (
    BACKBONES,
    STRIDE,
    Architecture,
    Resnet,
    Vgg,
    parse,
)
from secondreader.methods.patch_to_image.forest import region_features
from secondreader.methods.patch_to_image.network import (
    ImageClassifier,
    PatchClassifier,
    backbone,
)
from secondreader.methods.patch_to_image.prepare import draw_patches, prepare
from secondreader.methods.patch_to_image.tiles import HALO, by_tiles
from secondreader.methods.patch_to_image.train import _only, _upper
from secondreader.studies import study

SMALL = Config(init="none", architecture="resnet_small + 16x1 + 8x1", size=(256, 192), patch=96)


# ------------------------------------------------------------------------------ architectures


def test_architectures_are_what_the_tables_write():
    assert parse("resnet50 + [512-512-1024]x2 + [512-512-1024]x2") == Architecture(
        "resnet50", False, (Resnet((512, 512, 1024), 2),) * 2
    )
    assert parse("vgg16 + 256x1 + 128x1") == Architecture(
        "vgg16", False, (Vgg(256, 1), Vgg(128, 1))
    )
    assert parse("resnet50 + heatmap + 64x1 + 32x1").heatmap
    assert parse("vgg16 + heatmap + pool5 + fc64 + fc32") == Architecture(
        "vgg16", True, (), 5, (64, 32)
    )


@pytest.mark.parametrize(
    "text",
    ["resnet51 + 256x1", "resnet50", "resnet50 + 256", "vgg16 + fc64", "vgg16 + heatmap + pool2",
     "vgg16 + heatmap + fc64 + 32x1", ""],
)  # fmt: skip
def test_an_architecture_that_is_none_is_one_line(text):
    with pytest.raises(SecondReaderError, match=r"^architecture: got .*, expected .* \(in "):
        parse(text)


def test_every_row_of_the_study_is_an_architecture_that_can_be_built():
    told = named("shen2019") | named("shen2019-small")
    assert len(told) >= 40
    assert all(parse(text) for text in told)


def named(name):
    """Return every architecture of a study."""
    return {
        row.recipe.settings["architecture"]
        for table in study(name).tables
        for row in table.rows
        if row.recipe is not None and "architecture" in row.recipe.settings
    }


def test_sizes_are_whole_places():
    with pytest.raises(ValueError, match="multiples of 32"):
        Config(size=(1000, 896))


def test_a_size_of_fewer_places_than_are_pooled_is_one_line():
    pooled = "vgg16 + heatmap + pool5 + fc64 + fc32"
    with pytest.raises(
        SecondReaderError, match=r"^size: got \[128, 96\], a heatmap of 4 x 3 places, "
    ):
        Config(architecture=pooled, size=(128, 96))
    assert Config(architecture=pooled, size=(192, 160)).size == (192, 160)


def test_every_place_of_the_heatmap_reaches_the_fully_connected_layers():
    """18 x 14 places, of 576 x 448 pixels, are 4 x 3 pools of 5 x 5, the last ones of fewer."""
    torch.manual_seed(0)
    what = parse("resnet_small + heatmap + pool5 + fc8 + fc4")
    network = ImageClassifier(PatchClassifier("resnet_small", 4), what, (18, 14))
    seen = []
    network.top.register_forward_pre_hook(lambda layer, given: seen.append(given[0]))
    features = torch.zeros(1, 256, 18, 14)
    features[..., -1, -1] = 10.0  # the last corner
    with torch.no_grad():
        network.judged(features)
        network.judged(torch.zeros_like(features))
    corner, nothing = (one.reshape(5, 4, 3) for one in seen)
    differ = (corner != nothing).any(0)
    assert differ[3, 2] and not differ[:2].any()


def test_backbones_are_torchvisions_without_their_heads():
    def count(network):
        return sum(p.numel() for p in network.parameters())

    whole = resnet50()
    ours = PatchClassifier("resnet50")
    colour = 64 * 7 * 7 * 2  # one grey channel instead of three
    assert count(ours) == count(whole) - count(whole.fc) - colour + 2048 * 5 + 5
    assert 2.5e6 < count(backbone("resnet_small")[0]) < 3.1e6
    assert count(backbone("resnet_small")[0]) < count(resnet18()) / 3
    # "15 million weight parameters" (section 4)
    assert 14e6 < count(PatchClassifier("vgg16")) < 15e6
    assert count(PatchClassifier("vgg_small")) < count(PatchClassifier("vgg16")) / 15


@pytest.mark.parametrize("name", BACKBONES)
def test_the_features_have_a_place_every_32_pixels(name):
    network, depth = backbone(name)
    with torch.no_grad():
        assert network.eval()(torch.zeros(1, 1, 96, 64)).shape == (1, depth, 3, 2)


@pytest.mark.parametrize(
    "text",
    ["resnet_small + [8-8-16]x2 + [8-8-16]x1", "resnet_small + 16x2 + 8x1",
     "resnet_small + heatmap + 8x1 + 8x1", "resnet_small + heatmap + pool2 + fc8 + fc4",
     "resnet_small + heatmap + fc8"],
)  # fmt: skip
def test_every_kind_of_top_gives_two_outputs_and_learns_through_all_layers(text):
    torch.manual_seed(0)
    network = ImageClassifier(PatchClassifier("resnet_small", 3), parse(text), (8, 6))
    out = network(torch.rand(2, 1, 256, 192))
    assert out.shape == (2, 2)
    out.sum().backward()
    assert network.patches.features[0][0].weight.grad.abs().sum() > 0
    if not text.endswith(("fc4", "fc8")):
        assert network.eval()(torch.rand(1, 1, 320, 224)).shape == (1, 2)  # any size


def test_the_heatmap_in_the_middle_of_a_uniform_image_is_what_its_patch_says():
    torch.manual_seed(0)
    network = PatchClassifier("resnet_small", 3).eval()
    features = torch.randn(1, 256, 7, 7)
    with torch.no_grad():
        heat = network.heatmap(features)
        for row, col in ((3, 3), (1, 5)):
            patch = features[..., row - 1 : row + 2, col - 1 : col + 2]
            assert torch.allclose(
                heat[0, :, row, col], network.classes(patch.mean((2, 3)))[0], atol=1e-5
            )
        corner = features[..., :2, :2]
        assert torch.allclose(heat[0, :, 0, 0], network.classes(corner.mean((2, 3)))[0], atol=1e-5)


def test_the_class_activation_map_averages_to_the_output():
    torch.manual_seed(0)
    network = ImageClassifier(PatchClassifier("resnet_small", 3), parse(SMALL.architecture), (8, 6))
    network.eval()
    with torch.no_grad():
        features = network.features(torch.rand(2, 1, 256, 192))
        judged = network.judged(features)
        for column in (0, 1):
            found = network.activation(features, column).mean((1, 2))
            assert torch.allclose(found, judged[:, column], atol=1e-5)


@pytest.mark.parametrize("of", ["patches", "images"])
@pytest.mark.parametrize("backbone", ["resnet_small", "vgg_small_bn"])
def test_gradient_checkpointing_changes_no_gradient_and_counts_no_batch_twice(backbone, of):
    image = torch.rand(2, 1, 96, 96, generator=torch.Generator().manual_seed(0))
    told = []
    for saving in (False, True):
        torch.manual_seed(0)
        network = PatchClassifier(backbone, 3, saving=saving)
        if of == "images":
            network = ImageClassifier(network, parse(f"{backbone} + 16x1 + 8x1"), (3, 3))
        network.train()(image).sum().backward()
        grads = [p.grad for p in network.parameters() if p.grad is not None]
        means = [b for name, b in network.named_buffers() if "running" in name]
        told.append([*grads, *means])
    for plain, again in zip(*told, strict=True):
        assert torch.allclose(plain, again, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("of", ["patches", "images"])
def test_gradient_checkpointing_holds_less_on_the_way(of):
    def held(saving):
        network = PatchClassifier("resnet_small", 3, saving=saving)
        if of == "images":
            network = ImageClassifier(network, parse("resnet_small + 16x1 + 8x1"), (3, 3))
        numbers = []
        with torch.autograd.graph.saved_tensors_hooks(
            lambda kept: numbers.append(kept.numel()), lambda kept: kept
        ):
            network.train()(torch.rand(2, 1, 96, 96))
        return sum(numbers)

    assert held(True) < held(False) / 4


@pytest.mark.parametrize(
    ("name", "shape"), [("resnet_small", (704, 672)), ("vgg_small", (704, 64))]
)
def test_overlapping_tiles_have_the_features_of_the_whole_image(name, shape):
    torch.manual_seed(0)
    features = PatchClassifier(name, 3).eval().features
    image = torch.rand(1, 1, *shape)
    with torch.no_grad():
        whole = features(image)
        assert torch.allclose(by_tiles(features, image, 608), whole, rtol=1e-4, atol=1e-4)
        # A rim of two places is too narrow for what a place sees.
        narrow = features(image[..., :608, :])[..., :-2, :]
        assert name != "resnet_small" or not torch.allclose(
            narrow, whole[..., : narrow.shape[2], :], rtol=1e-4, atol=1e-4
        )


def test_no_place_sees_further_than_the_rim_of_a_tile():
    """What ResNet50 and the small one see: 3 x 3 in each unit, the first of a stage with its stride."""
    for per_unit, stages, seen in ((1, (3, 4, 6, 3), 427), (2, (2, 2, 2, 2), 435)):
        sizes = [(7, 2), (3, 2)]  # kernel and stride of the stem
        for number, units in enumerate(stages):
            sizes += [(3, 2 if number and not i else 1) for i in range(units * per_unit)]
        reach, jump = 1, 1
        for kernel, stride in sizes:
            reach, jump = reach + (kernel - 1) * jump, jump * stride
        assert (reach, jump) == (seen, STRIDE)
        assert reach // 2 <= HALO and HALO % STRIDE == 0


def test_stages_hold_what_they_do_not_train():
    network = PatchClassifier("resnet50")
    (group,) = _only(network, _upper)
    learning = {id(p) for p in group["params"]}
    layers = dict(network.named_children())
    assert all(id(p) in learning for p in layers["classes"].parameters())
    assert all(id(p) in learning for p in network.features[-1].parameters())
    assert all(id(p) in learning for p in network.features[-2][-1].parameters())
    held = [p for p in network.parameters() if not p.requires_grad]
    assert {id(p) for p in network.features[:-2].parameters()} <= {id(p) for p in held}
    vgg = PatchClassifier("vgg16")
    (group,) = _only(vgg, _upper)
    # Conv4 and conv5, three convolutions each, and the last layer: weights and biases.
    assert len(group["params"]) == 2 * (3 + 3 + 1)


# ------------------------------------------------------------------------------ patches


def lesion(region, kind=Kind.MASS, pathology=Pathology.MALIGNANT):
    return Lesion("x", kind, region, pathology=pathology)


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 1000), st.integers(2, 90), st.integers(60, 240), st.integers(60, 180))
def test_ten_patches_overlap_the_region_and_ten_touch_no_lesion(seed, radius, row, col):
    config = SMALL.model_copy(update={"patch": 64})
    breast = np.ones((300, 240), bool)
    other = Circle(20, 220, 8)
    lesions = [lesion(Circle(row, col, radius)), lesion(other, Kind.CALCIFICATION_CLUSTER, None)]
    where, label = draw_patches(lesions, breast, config, np.random.default_rng(seed))
    first = geometry.rasterise(lesions[0].region, breast.shape)
    inside = np.zeros(breast.shape, bool)
    inside[
        first.row0 : first.row0 + first.pixels.shape[0],
        first.col0 : first.col0 + first.pixels.shape[1],
    ] = first.pixels
    second = geometry.rasterise(other, breast.shape)
    both = inside.copy()
    both[
        second.row0 : second.row0 + second.pixels.shape[0],
        second.col0 : second.col0 + second.pixels.shape[1],
    ] |= second.pixels
    assert (label == 2).sum() == 10  # malignant mass
    assert (label == 0).sum() <= 10
    for (r, c), kind in zip(where.tolist(), label.tolist(), strict=True):
        window = (slice(max(r - 32, 0), r + 32), slice(max(c - 32, 0), c + 32))
        if kind == 0:
            assert not both[window].any()
        elif radius <= 20:  # a disc that fits: nine tenths of it are seen
            assert inside[window].sum() >= 0.9 * inside.sum() - 1e-9


def test_the_first_set_is_one_patch_in_the_middle_and_one_of_background():
    config = SMALL.model_copy(update={"patch_set": "s1", "patch": 64})
    mask = Mask(np.ones((10, 20), bool), 100, 50)
    where, label = draw_patches(
        [lesion(mask, Kind.CALCIFICATION_CLUSTER, Pathology.BENIGN)],
        np.ones((300, 240), bool), config, np.random.default_rng(0),
    )  # fmt: skip
    assert label.tolist() == [3, 0]
    assert where[0].tolist() == [105, 60]


def test_lesions_of_unknown_pathology_are_no_class_and_no_background():
    where, label = draw_patches(
        [lesion(Circle(150, 120, 200), pathology=None)], np.ones((300, 240), bool), SMALL,
        np.random.default_rng(0),
    )  # fmt: skip
    assert len(where) == len(label) == 0


# ------------------------------------------------------------------------------ forest


def test_a_forest_stored_as_arrays_says_what_was_fitted():
    rng = np.random.default_rng(0)
    features = rng.normal(size=(300, 7))
    truth = (features[:, 0] + features[:, 3] ** 2 + rng.normal(size=300) > 1).astype(int)
    forest = RandomForestClassifier(30, max_depth=5, random_state=0).fit(features, truth)
    arrays = forest_arrays(forest, "f.")
    fresh = rng.normal(size=(200, 7))
    assert forest_scores(arrays, "f.", fresh) == pytest.approx(forest.predict_proba(fresh)[:, 1])


def test_region_features_are_those_of_the_largest_region_of_each_class():
    heat = np.zeros((5, 12, 12), np.float32)
    heat[2, 2:4, 2:5], heat[2, 8, 8] = 0.6, 0.95
    told = region_features(heat, (0.5, 0.9)).reshape(2, 4, 6)
    assert told[0, 1, :3].tolist() == [2, 7, 6]
    assert told[0, 1, 4:] == pytest.approx([0.6, 0.6])
    assert told[1, 1, :3].tolist() == [1, 1, 1]
    assert (told[:, [0, 2, 3]] == 0).all()


# ------------------------------------------------------------------------------ the reader


def breast(rows=600, cols=400):
    r, c = np.mgrid[0:rows, 0:cols]
    inside = np.hypot((r - rows / 2) / (0.45 * rows), c / (0.8 * cols)) < 1
    grain = np.random.default_rng(0).normal(0, 0.01, (rows, cols))
    return np.where(inside, 0.45 + grain, 0).astype(np.float32)


def mammogram(pixels, spacing=(0.2, 0.2)):
    return Mammogram(pixels, spacing, None, None, ImageSource("x", bits=8))


def test_the_breast_is_brought_to_the_networks_size_and_keeps_its_shape():
    made = prepare(mammogram(breast()), SMALL)
    pixels, frame = made
    assert pixels.shape[0] <= 256 and pixels.shape[1] <= 192
    assert pixels.shape[0] == 256 or pixels.shape[1] == 192
    middle = np.argwhere(pixels > 0.2).mean(axis=0)
    assert geometry.to_source(frame, middle) == pytest.approx(
        np.argwhere(breast() > 0.2).mean(axis=0), abs=6
    )


def test_at_native_resolution_a_small_breast_is_not_enlarged():
    native = SMALL.model_copy(update={"size": (1024, 768), "enlarge": False})
    pixels, frame = prepare(mammogram(breast()), native)
    assert pixels.shape[0] < 600
    corner = geometry.to_source(frame, np.array([[0.0, 0.0], [10.0, 10.0]]))
    assert corner[1] - corner[0] == pytest.approx([10, 10])
    larger, _ = prepare(mammogram(breast()), native.model_copy(update={"enlarge": True}))
    assert larger.shape[0] == 1024 or larger.shape[1] == 768


def folder_of(tmp_path, config, network, **more):
    weights = {f"network.{k}": v for k, v in network.state_dict().items()} | more
    save_model(tmp_path, method="patch_to_image", config=config, weights=weights)
    return tmp_path


@pytest.mark.parametrize("shows", ["patches", "activation"])
def test_it_reads_without_a_pixel_size_too_and_marks_places_in_the_source(tmp_path, shows):
    torch.manual_seed(0)
    config = SMALL.model_copy(update={"shows": shows, "marked": 0.01})
    network = ImageClassifier(
        PatchClassifier("resnet_small", 3), parse(config.architecture), (8, 6)
    )
    reader = load(folder_of(tmp_path, config, network))
    reading = reader.read(mammogram(breast(), None))
    assert reading.refused is None and 0 < reading.score < 1
    assert reading.heatmap.values.min() >= 0 and reading.heatmap.values.max() <= 1
    assert reading.detections
    for d in reading.detections:
        assert d.kind is Kind.SUSPICIOUS_REGION
        row, col = geometry.centre(d.region)
        assert -20 <= row < 620 and -20 <= col < 420
        # Half a patch across: 48 of its 256 pixels are an eighth and a half of the breast's rows.
        assert 30 < d.region.radius < 80


@pytest.mark.parametrize(
    ("top", "activates"), [("16x1 + 8x1", True), ("heatmap + pool2 + fc8 + fc4", False)]
)
def test_the_activation_is_shown_where_there_is_one_and_else_the_patch_classes(
    tmp_path, top, activates
):
    torch.manual_seed(0)
    config = SMALL.model_copy(update={"architecture": f"resnet_small + {top}"})
    network = ImageClassifier(
        PatchClassifier("resnet_small", 3), parse(config.architecture), (8, 6)
    )
    shown = [
        load(folder_of(tmp_path / way, config.model_copy(update=more), network))
        .read(mammogram(breast()))
        .heatmap.values
        for way, more in (("default", {}), ("patches", {"shows": "patches"}))
    ]
    assert np.array_equal(*shown) is not activates


@pytest.mark.parametrize("tile", [None, 1024])
def test_what_is_folded_and_read_in_tiles_says_what_was_trained(tmp_path, tile):
    torch.manual_seed(0)
    config = SMALL.model_copy(update={"size": (1088, 96), "tile": tile})
    network = ImageClassifier(
        PatchClassifier("resnet_small", 3), parse(config.architecture), (34, 3)
    )
    image = torch.rand(4, 1, 96, 96)
    for _ in range(3):  # so that batch normalisation has something to fold
        network.train()(image)
    reader = load(folder_of(tmp_path, config, network))
    reading = reader.read(mammogram(breast()))
    pixels, _ = prepare(mammogram(breast()), config)
    whole = torch.zeros(1, 1, *config.size)
    whole[0, 0, : pixels.shape[0], : pixels.shape[1]] = torch.from_numpy(pixels.astype(np.float32))
    with torch.no_grad():
        plain = torch.sigmoid(network.eval()(whole))[0, 0]
    assert reading.score == pytest.approx(float(plain), abs=1e-4)


def test_images_of_which_it_is_very_sure_are_still_ranked(tmp_path):
    torch.manual_seed(0)
    network = ImageClassifier(PatchClassifier("resnet_small", 3), parse(SMALL.architecture), (8, 6))
    told = []
    for sure in (20.0, 25.0):
        torch.nn.init.zeros_(network.outputs.weight)
        torch.nn.init.constant_(network.outputs.bias, sure)
        told.append(load(folder_of(tmp_path, SMALL, network)).read(mammogram(breast())).score)
    assert told[0] < told[1] < 1


def test_a_patch_classifier_alone_scores_an_image_as_its_most_malignant_place(tmp_path):
    torch.manual_seed(0)
    config = SMALL.model_copy(update={"trains": "patch"})
    reader = load(folder_of(tmp_path, config, PatchClassifier("resnet_small", 3)))
    reading = reader.read(mammogram(breast()))
    assert reading.score == pytest.approx(float(reading.heatmap.values.max()), abs=1e-6)


@pytest.mark.parametrize("pixels", [np.zeros((300, 200), np.float32), np.ones((5, 5), np.float32)])
def test_what_holds_no_breast_is_refused(tmp_path, pixels):
    config = SMALL.model_copy(update={"trains": "patch"})
    reader = load(folder_of(tmp_path, config, PatchClassifier("resnet_small", 3)))
    assert reader.read(mammogram(pixels)).refused[0] == "no-breast"


def test_it_is_in_the_table_and_has_no_weights_of_its_own():
    with pytest.raises(SecondReaderError, match="secondreader train patch_to_image"):
        method("patch_to_image").load(None)
    assert STRIDE == 32
