"""Regions, windows and generated images of Second Look."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from secondreader import geometry
from secondreader.domain import (
    Circle,
    Frame,
    ImageSource,
    Kind,
    Lesion,
    Mammogram,
    Pathology,
    SecondReaderError,
)
from secondreader.learning.model_folder import save_model
from secondreader.methods.second_look import Config, load
from secondreader.methods.second_look.data import (
    Regions,
    _turned,
    class_of,
    moved,
    window_places,
    windows,
)
from secondreader.methods.second_look.gan import NOISE, discriminator, generator
from secondreader.methods.second_look.network import CLASSES, classifier, mask_rcnn
from secondreader.methods.second_look.reader import SecondLook
from secondreader.methods.second_look.train import _region_loss

SMALL = Config(
    init="none",
    backbone="small",
    size=(256, 192),
    anchors=(8, 16, 32, 64, 128),
    window=64,
    stride=32,
)


class Images:
    """Prepared images that lie in memory, and what is true of them."""

    def __init__(self, arrays, lesions):
        self.arrays, self.lesions = arrays, tuple(map(tuple, lesions))
        self.records = [type("Record", (), {"path": str(i)}) for i in range(len(arrays))]
        self.frames = tuple(geometry.identity(a.shape) for a in arrays)

    def __len__(self):
        return len(self.arrays)

    def pixels(self, index):
        return self.arrays[index]


def lesion(row, col, radius, pathology=Pathology.MALIGNANT, kind=Kind.MASS, **more):
    return Lesion("x", kind, Circle(row, col, radius), pathology=pathology, **more)


FLAT = np.full((256, 192), 0.4, np.float16)


# ------------------------------------------------------------------------------ networks


def test_the_papers_network_is_torchvisions_of_about_as_many_parameters():
    config = Config()
    count = sum(p.numel() for p in mask_rcnn(config).parameters())
    # Matterport's has 63,744,170; its proposal network alone 9 · 256 · 256 + 256 more, see the module.
    assert 63_744_170 - count == pytest.approx(9 * 256 * 256 + 256, abs=400_000)
    assert len(CLASSES) == 4


def test_the_small_network_is_small_and_learns_from_boxes_and_masks():
    torch.manual_seed(0)
    network = mask_rcnn(SMALL)
    assert sum(p.numel() for p in network.parameters()) < 4.5e6
    data = Regions.of(Images([FLAT, FLAT], [[lesion(80, 70, 20)], []]))
    batch = data.batch(0, 2, SMALL)
    loss = _region_loss(network.train(), batch)
    loss.backward()
    assert torch.isfinite(loss)
    assert network.roi_heads.mask_predictor.mask_fcn_logits.weight.grad.abs().sum() > 0
    assert network.backbone.body["0"][0].weight.grad.abs().sum() > 0


@pytest.mark.parametrize("backbone", ["small", "resnet50"])
def test_windows_are_told_apart_in_four_classes(backbone):
    config = SMALL.model_copy(update={"backbone": backbone})
    assert classifier(config).eval()(torch.zeros(2, 1, 64, 64)).shape == (2, 4)


# ------------------------------------------------------------------------------ the DCGAN


def keras(layer):
    """Parameters as Keras counts them: batch normalisation has four numbers a channel."""
    if isinstance(layer, torch.nn.BatchNorm1d | torch.nn.BatchNorm2d):
        return 4 * layer.num_features
    return sum(p.numel() for p in layer.parameters())


def test_the_generator_has_the_parameters_that_figure_1a_prints():
    told = [keras(layer) for layer in generator() if keras(layer)]
    assert told == [
        32776192, 32768, 204864, 256, 51232, 128, 12816, 64, 3208, 32, 201,
    ]  # fmt: skip
    assert generator().eval()(torch.zeros(1, NOISE)).shape == (1, 1, 256, 256)


def test_the_discriminator_has_the_parameters_that_figure_1b_prints():
    assert [keras(layer) for layer in discriminator() if keras(layer)] == [832, 51264, 262145]
    assert discriminator()(torch.zeros(2, 1, 256, 256)).shape == (2, 1)


@pytest.mark.parametrize("side", [64, 128])
def test_smaller_ones_fit_each_other(side):
    drawn = generator(side, 100).eval()(torch.zeros(2, 100))
    assert drawn.shape == (2, 1, side, side) and drawn.abs().max() <= 1
    assert discriminator(side)(drawn).shape == (2, 1)


# ------------------------------------------------------------------------------ regions


def test_regions_are_boxes_and_masks_of_known_pathology():
    own = [
        lesion(80, 70, 20),
        lesion(200, 100, 10, Pathology.BENIGN, Kind.CALCIFICATION_CLUSTER),
        lesion(30, 30, 9, None),
        lesion(40, 150, 9, kind=Kind.MICROCALCIFICATION),
        lesion(240, 20, 9, visible=False),
    ]
    data = Regions.of(Images([FLAT], [own]))
    batch = data.at(np.array([0]), SMALL)
    assert batch["labels"][0].tolist() == [1, 2]
    for box, mask, (row, col, radius) in zip(
        batch["boxes"][0], batch["masks"][0], ((80, 70, 20), (200, 100, 10)), strict=True
    ):
        x0, y0, x1, y1 = box.tolist()
        assert ((y0 + y1) / 2, (x0 + x1) / 2) == pytest.approx((row + 0.5, col + 0.5), abs=0.51)
        assert (y1 - y0, x1 - x0) == pytest.approx((2 * radius, 2 * radius), abs=2)
        inside = torch.nonzero(mask)
        assert (inside.amin(0) >= torch.tensor([y0, x0])).all()
        assert (inside.amax(0) < torch.tensor([y1, x1])).all()
    assert class_of(own[2]) is None


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 10_000))
def test_boxes_and_masks_follow_the_mirrored_pixels(seed):
    array = FLAT.copy()
    array[70:91, 40:61] = 0.9
    square = Lesion(
        "x", Kind.MASS, geometry.rasterise(Circle(80, 50, 9)), pathology=Pathology.MALIGNANT
    )
    data = Regions.of(Images([array], [[square]]))
    config = SMALL.model_copy(
        update={"augment": SMALL.augment.model_copy(update={"gain": 0, "shift": 0})}
    )
    batch = moved(data.at(np.zeros(4, int), config), torch.Generator().manual_seed(seed), config)
    for image, (box,), (mask,) in zip(batch["image"], batch["boxes"], batch["masks"], strict=True):
        assert (image[0][mask] > 0.8).all()
        inside = torch.nonzero(mask)
        x0, y0, x1, y1 = box.tolist()
        assert (inside.amin(0).tolist(), (inside.amax(0) + 1).tolist()) == ([y0, x0], [y1, x1])


# ------------------------------------------------------------------------------ windows


def test_windows_lie_in_the_breast_only_and_cover_it():
    image = np.zeros((300, 260), np.float16)
    image[40:260, :150] = 0.5
    places = window_places(image, SMALL)
    assert len(places)
    seen = np.zeros(image.shape, bool)
    for row, col in places.tolist():
        window = image[row - 32 : row + 32, max(col - 32, 0) : col + 32]
        assert (window > 0).sum() >= 0.3 * 64 * 64
        seen[row - 32 : row + 32, max(col - 32, 0) : col + 32] = True
    assert seen[60:240, :130].all()


def test_a_window_is_the_most_severe_lesions_that_it_holds_enough_of():
    own = [lesion(96, 96, 10, Pathology.BENIGN), lesion(100, 100, 5), lesion(200, 60, 12, None)]
    made = windows(Images([FLAT], [own]), SMALL)
    at = made.positive.at(np.arange(len(made.positive)))
    assert set(made.label.tolist()) <= {1, 2}
    for (_, row, col), kind in zip(at.tolist(), made.label.tolist(), strict=True):
        holds = abs(row - 100) < 27 and abs(col - 100) < 27
        assert (kind == 1) >= holds
    free = made.negative.at(np.arange(len(made.negative)))
    for _, row, col in free.tolist():
        for other in own:
            gap = max(abs(row - other.region.row) - 32, abs(col - other.region.col) - 32)
            assert gap >= other.region.radius * 0.6 or gap > 0


def test_a_batch_holds_lesions_and_others_and_every_turn_of_a_window_is_a_patch():
    array = FLAT.copy()
    array[90:111, 90:111] = 0.95
    made = windows(Images([array], [[lesion(100, 100, 10)]]), SMALL)
    batch = made.batch(0, 16, SMALL)
    assert (batch["label"] > 0).sum() == 8
    bright = (batch["image"] > 0.9).flatten(1).sum(1)
    assert (bright[batch["label"] > 0] > 100).all()
    assert (bright[batch["label"] == 0] == 0).all()
    patch = torch.arange(9.0).reshape(1, 3, 3)
    assert len({tuple(_turned(patch, t).flatten().tolist()) for t in range(8)}) == 8


def test_few_patches_are_always_the_same_few():
    made = windows(Images([FLAT] * 3, [[lesion(100, 100, 30)], [], []]), SMALL)
    few = SMALL.model_copy(update={"patches": 8})
    seen = {
        image.numpy().tobytes() + bytes([i])
        for step in range(20)
        for i, image in enumerate(made.batch(step, 8, few)["image"][:4])
    }
    assert len(seen) <= 4 * 4


# ------------------------------------------------------------------------------ the reader


def breast(rows=600, cols=400):
    r, c = np.mgrid[0:rows, 0:cols]
    inside = np.hypot((r - rows / 2) / (0.45 * rows), c / (0.8 * cols)) < 1
    grain = np.random.default_rng(0).normal(0, 0.01, (rows, cols))
    return np.where(inside, 0.45 + grain, 0).astype(np.float32)


def mammogram(pixels):
    return Mammogram(pixels, None, None, None, ImageSource("x", bits=8))


class Finds(torch.nn.Module):
    """Finds the brightest square of an image as malignant, and another as benign."""

    def forward(self, images):
        found = []
        for image in images:
            mask = (image[0] > 0.8).float()
            boxes = torch.zeros(2, 4)
            masks = torch.stack([mask, 1 - mask])[:, None]
            found.append({"boxes": boxes, "labels": torch.tensor([1, 2]),
                          "scores": torch.tensor([0.7, 0.9]), "masks": masks})  # fmt: skip
        return found


def test_a_malignant_regions_mask_comes_back_in_source_pixels():
    pixels = breast()
    pixels[280:320, 100:140] = 1.0
    reading = SecondLook(SMALL, Finds()).read(mammogram(pixels))
    assert reading.score == pytest.approx(0.7)
    (found,) = reading.detections
    assert found.kind is Kind.SUSPICIOUS_REGION
    assert geometry.centre(found.region) == pytest.approx((299.5, 119.5), abs=3)
    assert geometry.area(found.region) == pytest.approx(1600, rel=0.25)
    at = np.argwhere(reading.heatmap.values > 0.5).mean(0)
    assert geometry.to_source(reading.heatmap.frame, at) == pytest.approx((299.5, 119.5), abs=14)


class Bright(torch.nn.Module):
    """Calls a window malignant by how much of it is bright."""

    def forward(self, image):
        share = (image > 0.8).float().mean((1, 2, 3))
        return torch.stack(
            [torch.zeros_like(share), 20 * share - 3, share * 0 - 9, share * 0 - 9], 1
        )


def test_an_image_is_called_by_its_worst_window():
    config = SMALL.model_copy(update={"trains": "votes"})
    pixels = breast()
    pixels[260:340, 100:180] = 1.0
    reading = SecondLook(config, Bright()).read(mammogram(pixels))
    assert reading.score > 0.9
    assert reading.score == pytest.approx(float(reading.heatmap.values.max()))
    row, col = geometry.centre(reading.detections[0].region)
    assert abs(row - 300) < 45 and abs(col - 140) < 45
    assert SecondLook(config, Bright()).read(mammogram(breast())).score < 0.1


@pytest.mark.parametrize("trains", ["regions", "votes", "shrunk"])
def test_a_folder_reads_whatever_it_was_trained_for(tmp_path, trains):
    torch.manual_seed(0)
    config = SMALL.model_copy(update={"trains": trains})
    network = mask_rcnn(config) if trains == "regions" else classifier(config)
    weights = {f"network.{k}": v for k, v in network.state_dict().items()}
    save_model(tmp_path, method="second_look", config=config, weights=weights)
    reader = load(tmp_path)
    reading = reader.read(mammogram(breast()))
    assert reading.refused is None and 0 <= reading.score <= 1
    assert reader.read(mammogram(np.zeros((200, 200), np.float32))).refused[0] == "no-breast"


def test_without_a_folder_there_is_no_reader():
    with pytest.raises(SecondReaderError, match="secondreader train second_look"):
        load(None)
    assert isinstance(geometry.identity((2, 2)), Frame)
