"""Regions, windows and generated images of Second Look."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional

from secondreader import geometry
from secondreader.domain import (
    Circle,
    Detection,
    Frame,
    ImageRecord,
    ImageSource,
    Kind,
    Lesion,
    Mammogram,
    Pathology,
    SecondReaderError,
)
from secondreader.learning.hardware import Hardware
from secondreader.learning.model_folder import save_model
from secondreader.methods.second_look import Config, load
from secondreader.methods.second_look.config import GENERATED
from secondreader.methods.second_look.data import (
    Regions,
    class_of,
    image_classes,
    moved,
    prepare,
)
from secondreader.methods.second_look.figures import (
    called,
    class_figures,
    malignant_lesions,
    own_kinds,
)
from secondreader.methods.second_look.flow import Flow, flow_loss
from secondreader.methods.second_look.gan import (
    NOISE,
    Dcgan,
    dcgan_loss,
    discriminator,
    generator,
)
from secondreader.methods.second_look.generators import built, drawn
from secondreader.methods.second_look.network import CLASSES, classifier, mask_rcnn
from secondreader.methods.second_look.reader import SecondLook
from secondreader.methods.second_look.regions_training import (
    _region_figures,
    _without_masks,
    region_loss,
)
from secondreader.methods.second_look.windows import turned, window_places, windows
from secondreader.methods.second_look.windows_training import (
    _note,
    _Shrunk,
    _with_generated,
    train_check,
)

SMALL = Config(
    init="none",
    backbone="small",
    size=(256, 192),
    anchors=(8, 16, 32, 64, 128),
    window=64,
)


class Images:
    """Prepared images that lie in memory, and what is true of them."""

    def __init__(self, arrays, lesions, malignant=()):
        self.arrays, self.lesions = arrays, tuple(map(tuple, lesions))
        told = [*malignant, *[False] * (len(arrays) - len(malignant))]
        self.records = [
            type("Record", (), {"path": str(i), "patient_id": str(i), "malignant": m})
            for i, m in enumerate(told)
        ]
        self.frames = tuple(geometry.identity(a.shape) for a in arrays)

    def __len__(self):
        return len(self.arrays)

    def pixels(self, index):
        return self.arrays[index]


def lesion(row, col, radius, pathology=Pathology.MALIGNANT, kind=Kind.MASS, **more):
    return Lesion("x", kind, Circle(row, col, radius), pathology=pathology, **more)


FLAT = np.full((256, 192), 0.4, np.float16)


# ------------------------------------------------------------------------------ networks


def test_the_papers_network_is_torchvisions_and_every_number_that_differs_is_accounted_for():
    network = mask_rcnn(Config())
    count = sum(p.numel() for p in network.parameters())
    assert count == 62_972_135
    convolutions = [
        m for n, m in network.backbone.body.named_modules() if isinstance(m, torch.nn.Conv2d)
    ]
    norms = [m for m in network.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    matterport = {
        # It has three colours, where ours has one.
        "colours": 2 * 7 * 7 * 64,
        # Its convolutions of the backbone have biases though a normalisation follows.
        "biases": sum(m.out_channels for m in convolutions),
        # Keras counts running means and variances.
        "running": sum(2 * m.num_features for m in norms),
        # 512 channels propose regions, two numbers say whether there is one.
        "proposals": (9 * 256 * 512 + 512 + 512 * (6 + 12) + 18)
        - (9 * 256 * 256 + 256 + 256 * (3 + 12) + 15),
        # Heads of boxes and masks are normalised: 4 numbers a channel.
        "heads": 4 * (2 * 1024 + 4 * 256),
    }
    assert count + sum(matterport.values()) == 63_744_170
    # Of Matterport's numbers those that are not trained are the running ones alone.
    assert matterport["running"] + 2 * (2 * 1024 + 4 * 256) == 111_488
    assert len(CLASSES) == 4


def test_the_small_network_is_small_and_learns_from_boxes_and_masks():
    torch.manual_seed(0)
    network = mask_rcnn(SMALL)
    assert sum(p.numel() for p in network.parameters()) < 4.5e6
    data = Regions.of(Images([FLAT, FLAT], [[lesion(80, 70, 20)], []]), SMALL)
    batch = data.batch(0, 2, SMALL)
    loss = region_loss(network.train(), batch)
    loss.backward()
    assert torch.isfinite(loss)
    assert network.roi_heads.mask_predictor.mask_fcn_logits.weight.grad.abs().sum() > 0
    assert network.backbone.body["0"][0].weight.grad.abs().sum() > 0


def norms(network, kind):
    return [m for m in network.modules() if isinstance(m, kind)]


@pytest.mark.parametrize("form", [torch.channels_last, torch.contiguous_format])
def test_groups_are_normalised_as_pytorch_does_and_the_format_stays(form):
    network = classifier(Config(backbone="small", init="none"))
    own = next(m for m in network.modules() if isinstance(m, nn.GroupNorm))
    own.weight.data = torch.linspace(0.5, 2, own.num_channels)
    own.bias.data = torch.linspace(-1, 1, own.num_channels)
    noise = torch.Generator().manual_seed(0)
    image = torch.randn((3, own.num_channels, 6, 5), generator=noise) * 2 + 1
    got = own(image.contiguous(memory_format=form))
    wanted = functional.group_norm(image, own.num_groups, own.weight, own.bias)
    torch.testing.assert_close(got, wanted)
    assert got.is_contiguous(memory_format=form)


def test_statistics_of_published_weights_stay_as_few_images_tell_none():
    still = mask_rcnn(Config(backbone="resnet50", init="coco")).train()
    free = mask_rcnn(Config(backbone="resnet50", init="none")).train()
    batches = norms(still, torch.nn.BatchNorm2d)
    assert batches and not any(m.training for m in batches)
    assert all(m.weight.requires_grad for m in batches)
    before = still.backbone.body.bn1.running_mean.clone()
    image = torch.rand(2, 1, 64, 64)
    assert torch.isfinite(still.backbone.body(image)["3"]).all()
    assert torch.equal(still.backbone.body.bn1.running_mean, before)
    for begun in (free, mask_rcnn(SMALL), classifier(SMALL)):  # from nothing
        assert not norms(begun, torch.nn.BatchNorm2d) and norms(begun, torch.nn.GroupNorm)


def test_units_that_published_weights_lack_begin_by_adding_nothing():
    block = mask_rcnn(Config(init="coco")).eval().backbone.body.layer3[-1]
    x = torch.rand(1, 1024, 4, 4)
    assert torch.equal(block(x), x)


def test_malignant_regions_are_not_crowded_out_by_benign_ones():
    torch.manual_seed(0)
    network = mask_rcnn(SMALL.model_copy(update={"most": 3})).eval()
    last = network.roi_heads.box_predictor.cls_score
    torch.nn.init.zeros_(last.weight)
    last.bias.data = torch.tensor([0.1, 0.05, 0.8, 0.05]).log()
    with torch.no_grad():
        (got,) = network([torch.rand(1, 256, 192)])
    assert got["labels"].bincount(minlength=4).tolist() == [0, 3, 3, 3]
    assert len(got["boxes"]) == len(got["scores"]) == len(got["masks"]) == 9
    assert got["scores"].tolist() == sorted(got["scores"].tolist(), reverse=True)


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
    data = Regions.of(Images([FLAT], [own]), SMALL)
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
    assert class_of(own[2], SMALL) is None


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 10_000))
def test_boxes_and_masks_follow_the_mirrored_pixels(seed):
    array = FLAT.copy()
    array[70:91, 40:61] = 0.9
    square = Lesion(
        "x", Kind.MASS, geometry.rasterise(Circle(80, 50, 9)), pathology=Pathology.MALIGNANT
    )
    data = Regions.of(Images([array], [[square]]), SMALL)
    config = SMALL.model_copy(
        update={"augment": SMALL.augment.model_copy(update={"gain": 0, "shift": 0})}
    )
    batch = moved(data.at(np.zeros(4, int), config), torch.Generator().manual_seed(seed), config)
    for image, (box,), (mask,) in zip(batch["image"], batch["boxes"], batch["masks"], strict=True):
        assert (image[0][mask] > 0.8).all()
        inside = torch.nonzero(mask)
        x0, y0, x1, y1 = box.tolist()
        assert (inside.amin(0).tolist(), (inside.amax(0) + 1).tolist()) == ([y0, x0], [y1, x1])


UNPLACED = Lesion("x", Kind.MASS, None, pathology=Pathology.MALIGNANT)


def test_what_is_unknown_is_no_example_of_nothing():
    own = [
        [lesion(80, 70, 20)],
        [UNPLACED],
        [lesion(80, 70, 20, None)],
        [],  # called malignant, and no lesion told
        [lesion(80, 70, 20, Pathology.BENIGN), lesion(200, 70, 9, None)],
        [lesion(80, 70, 20, visible=False)],
        [lesion(80, 70, 20, kind=Kind.MICROCALCIFICATION)],
        [],
    ]
    images = Images([FLAT] * 8, own, [True, True, None, True])
    assert image_classes(images, SMALL).tolist() == [1, 1, -1, -1, -1, -1, 0, 0]
    data = Regions.of(images, SMALL)
    shown = {name for step in range(12) for name in data.batch(step, 4, SMALL)["where"]}
    assert shown == {"0", "4", "6", "7"}  # of the fifth the benign one is known
    made = windows(images, SMALL)
    of_nothing = set(made.where[made.label == 0, 0].tolist())
    assert not of_nothing & {1, 3} and {2, 5, 6, 7} <= of_nothing


def test_an_image_whose_cancers_are_hidden_in_it_is_of_unknown_class():
    hidden = lesion(80, 70, 20, visible=False)
    benign = lesion(80, 70, 20, Pathology.BENIGN, visible=False)
    cluster = lesion(80, 70, 20, kind=Kind.CALCIFICATION_CLUSTER, visible=False)
    masses = SMALL.model_copy(update={"kinds": (Kind.MASS,)})
    own = [[hidden], [hidden, lesion(200, 70, 9)], [benign], [cluster],
           [lesion(200, 70, 9, Pathology.BENIGN), hidden]]  # fmt: skip
    images = Images([FLAT] * 5, own, [True, True, False, True, True])
    assert image_classes(images, masses).tolist() == [-1, 1, 0, 0, -1]
    assert image_classes(images, SMALL).tolist() == [-1, 1, 0, -1, -1]


def test_a_detector_of_masses_is_chosen_by_masses():
    masses = SMALL.model_copy(update={"kinds": (Kind.MASS,)})
    cluster = lesion(80, 70, 20, kind=Kind.CALCIFICATION_CLUSTER)
    bright = np.full(FLAT.shape, 0.9, np.float16)
    images = Images([bright, FLAT, FLAT], [[lesion(80, 70, 20)], [cluster], []], [True, True])

    class Mean(torch.nn.Linear):
        roi_heads = SimpleNamespace(mask_roi_pool="masks")

        def forward(self, images):
            assert self.roi_heads.mask_roi_pool is None  # masks are not looked at
            return [{"scores": i.mean()[None], "labels": torch.tensor([1])} for i in images]

    network = Mean(1, 1)
    held = Regions.of(images, masses)
    assert _region_figures(network, held, masses) == {"auc": 1.0}
    both = Regions.of(images, SMALL)
    assert _region_figures(network, both, SMALL) == {"auc": 0.75}
    assert network.roi_heads.mask_roi_pool == "masks"


def test_a_detector_chooses_by_the_scores_that_it_has_with_masks_too():
    torch.manual_seed(0)
    network = mask_rcnn(SMALL).eval()
    image = torch.rand(1, *SMALL.size)
    with torch.inference_mode():
        (whole,) = network([image])
        with _without_masks(network):
            (boxes,) = network([image])
        (again,) = network([image])
    assert len(whole["scores"]) and torch.equal(whole["scores"], boxes["scores"])
    assert "masks" not in boxes and torch.equal(whole["masks"], again["masks"])


def test_shrunk_images_are_mirrored_in_training_and_those_of_unknown_class_left_out():
    array = FLAT.copy()
    array[:40, :40] = 0.9
    data = _Shrunk(Images([array, FLAT], [[lesion(20, 20, 9)], []], [True, None]), SMALL)
    batch = data.batch(0, 32, SMALL)
    assert set(batch["where"]) == {"0"} and batch["label"].tolist() == [1] * 32
    corners = {tuple(torch.nonzero(i[0] > 0.8).amin(0).tolist()) for i in batch["image"]}
    assert corners == {(0, 0), (0, 216), (216, 0), (216, 216)}
    assert (data.at(np.array([0]))["image"][0, 0, :40, :40] > 0.8).all()


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


@given(st.integers(64, 200), st.integers(64, 200), st.sampled_from([0.125, 0.5, 0.75, 1.0]))
def test_windows_reach_both_ends_and_none_reaches_beyond(rows, cols, stride):
    config = SMALL.model_copy(update={"read_stride": stride})
    places = window_places(np.ones((rows, cols), np.float16), config)
    for axis, side in enumerate((rows, cols)):
        middles = np.unique(places[:, axis])
        assert middles[0] == 32 and middles[-1] == side - 32
        assert np.diff(middles, prepend=32).max() <= 64 * stride


def test_an_image_smaller_than_a_window_has_one():
    assert window_places(np.ones((50, 40), np.float16), SMALL).tolist() == [[32, 32]]


def test_what_is_no_breast_is_nothing_and_no_window_lies_there():
    pixels = np.maximum(breast(), 0.06)  # a film's background
    pixels[20:60, 330:390] = 0.9  # a label
    prepared, frame = prepare(mammogram(pixels), SMALL)
    at = np.argwhere(prepared > 0)
    r, c = geometry.to_source(frame, at.astype(float)).T
    assert (np.hypot((r - 300) / 270, c / 320) < 1.05).all()
    inside = np.hypot((r - 300) / 270, c / 320) < 0.9
    assert inside.mean() > 0.75
    places = window_places(prepared, SMALL)
    bare, _ = prepare(mammogram(breast()), SMALL)
    assert {tuple(p) for p in places.tolist()} == {
        tuple(p) for p in window_places(bare, SMALL).tolist()
    }


def test_a_window_is_the_most_severe_lesions_that_it_holds_enough_of():
    own = [lesion(96, 96, 10, Pathology.BENIGN), lesion(100, 100, 5), lesion(200, 60, 12, None)]
    made = windows(Images([FLAT], [own]), SMALL)
    assert set(made.label.tolist()) <= {0, 1, 2}
    for (_, row, col), kind in zip(made.where.tolist(), made.label.tolist(), strict=True):
        holds = abs(row - 100) < 27 and abs(col - 100) < 27
        assert (kind == 1) >= holds
        if kind == 0:
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
    assert len({tuple(turned(patch, t).flatten().tolist()) for t in range(8)}) == 8


TWO = [[lesion(100, 100, 30)], [lesion(120, 90, 30, Pathology.BENIGN)], []]


def test_lesions_of_each_class_are_drawn_alike_and_in_a_check_all_classes():
    made = windows(Images([FLAT] * 3, TWO), SMALL)
    assert sorted(made.batch(3, 16, SMALL)["label"].tolist()) == [0] * 8 + [1] * 4 + [2] * 4
    check = SMALL.model_copy(update={"trains": "check"})
    assert sorted(made.batch(3, 12, check)["label"].tolist()) == [0] * 4 + [1] * 4 + [2] * 4


def test_so_many_patches_are_drawn_from_half_with_a_lesion_always_the_same():
    own = Images([FLAT] * 3, TWO)
    few = windows(own, SMALL, patches=16)
    assert few.counts() == {"0": 8, "1": 4, "2": 4}
    again = windows(own, SMALL, patches=16)
    for kind, patches in few.drawn.items():
        assert len(set(patches.tolist())) == len(patches)
        assert (few.label[patches // 8] == kind).all()
        assert sorted(again.drawn[kind]) == sorted(patches)
    # A training of another seed draws otherwise, of the same ones.
    seeded = windows(own, SMALL.model_copy(update={"seed": 1}), patches=16)
    assert all(sorted(seeded.drawn[k]) == sorted(p) for k, p in few.drawn.items())
    check = SMALL.model_copy(update={"trains": "check"})
    assert windows(own, check, patches=12).counts() == {"0": 4, "1": 4, "2": 4}
    every = windows(own, SMALL, patches=10**6)
    assert sum(every.counts().values()) == 8 * len(every.label)


def test_how_many_windows_the_patches_are_turns_of_is_noted(tmp_path):
    made = windows(Images([FLAT] * 3, TWO), SMALL, patches=16)
    _note(tmp_path, made)
    told = json.loads((tmp_path / "patches.json").read_text())
    assert told["patches drawn from"] == {"0": 8, "1": 4, "2": 4}
    for kind, number in told["windows of those"].items():
        assert number == len({p // 8 for p in made.drawn[int(kind)].tolist()})
    assert told["share of nothing"] == pytest.approx(float((made.label == 0).mean()))


def test_windows_show_as_much_of_a_larger_image_and_are_sized_once():
    config = Config(size=(640, 512), cut_from=(320, 256), window=64)
    assert (config.sized().size, config.sized().window) == ((640, 512), 128)
    votes = config.model_copy(update={"trains": "votes"}).sized()
    assert (votes.size, votes.window) == ((320, 256), 64)
    for own in (config.sized(), votes, Config().sized()):
        assert own.sized() == own
    assert (Config().sized().size, Config().sized().window) == ((1024, 1024), 256)


def test_half_the_stride_is_four_times_the_windows():
    fine = SMALL.model_copy(update={"stride": 0.25, "cut_from": (256, 192)}).sized()
    coarse, close = (window_places(FLAT, c, reading=False) for c in (SMALL, fine))
    assert 2.5 < len(close) / len(coarse) < 4.5
    assert {tuple(p) for p in coarse.tolist()} <= {tuple(p) for p in close.tolist()}


# ------------------------------------------------------------------------------ generators


def test_each_network_of_the_dcgan_learns_from_its_own_loss_only():
    torch.manual_seed(0)
    both = Dcgan(32, 8).train()
    image = torch.rand(6, 1, 32, 32) * 2 - 1
    torch.manual_seed(1)
    dcgan_loss(both, image).backward()
    # By hand, with the same draws: noise first, then the dropout of each look.
    torch.manual_seed(1)
    drawn_ = both.generator(torch.randn(6, 8))
    soft = torch.nn.functional.softplus
    judged = soft(-both.discriminator(image)).mean()
    judged = judged + soft(both.discriminator(drawn_.detach())).mean()
    wanted = torch.autograd.grad(judged, list(both.discriminator.parameters()), retain_graph=True)
    for parameter, grad in zip(both.discriminator.parameters(), wanted, strict=True):
        assert torch.allclose(parameter.grad, grad, atol=1e-6)
    fooled = soft(-both.discriminator(drawn_)).mean()
    wanted = torch.autograd.grad(fooled, list(both.generator.parameters()))
    for parameter, grad in zip(both.generator.parameters(), wanted, strict=True):
        assert torch.allclose(parameter.grad, grad, atol=1e-6)
    assert both.steps == 1


def test_single_images_are_drawn_with_the_statistics_of_the_generator_as_it_is():
    torch.manual_seed(0)
    both = Dcgan(32, 8).train()
    noise = torch.randn(512, 8)
    with torch.no_grad():
        # As after training: what was seen before is far off.
        for module in both.generator.modules():
            if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
                module.running_mean += 3
        together = both.generator(noise)
        off = (both.eval().generator(noise) - together).abs().mean()
        both.train().settle(torch.Generator().manual_seed(1))
        assert both.training
        alone = both.eval().generator(noise)
    assert (alone - together).abs().mean() < 0.1 * off
    assert float(alone.mean()) == pytest.approx(float(together.mean()), abs=0.02)
    assert float(alone.std()) == pytest.approx(float(together.std()), rel=0.05)


def test_a_flow_learns_which_class_is_bright():
    torch.manual_seed(0)
    flow = Flow(32, 2, 8)
    rule = torch.optim.Adam(flow.parameters(), 5e-3)
    for _ in range(40):
        kind = torch.arange(8) % 2
        image = (kind * 1.2 - 0.6)[:, None, None, None].expand(-1, 1, 32, 32)
        loss = flow_loss(flow, image, kind)
        rule.zero_grad()
        loss.backward()
        rule.step()
    with torch.no_grad():
        made = flow.draw(torch.tensor([0] * 4 + [1] * 4), 8, torch.Generator().manual_seed(0))
    dark, bright = made[:4].mean(), made[4:].mean()
    assert dark == pytest.approx(-0.6, abs=0.2)
    assert bright == pytest.approx(0.6, abs=0.2)


@pytest.mark.parametrize("width", [8, 16, 24, 32, 64])
@pytest.mark.parametrize("side", [32, 64, 96, 128, 256])
def test_a_flow_has_room_for_the_noise_of_every_pixel_of_any_size(side, width):
    flow = Flow(side, 3, width)
    assert flow.first.in_channels <= flow.first.out_channels / 2
    with torch.no_grad():
        image = torch.zeros(1, 1, side, side)
        assert flow(image, torch.tensor([0.5]), torch.tensor([1])).shape == image.shape


def test_a_flow_is_as_large_as_the_generator_that_it_is_put_beside():
    flow = sum(p.numel() for p in built(Config(generator="flow", window=64)).parameters())
    assert 0.5e6 < flow < sum(p.numel() for p in generator(64).parameters())


@pytest.mark.parametrize("name", ["dcgan", "flow"])
def test_the_same_patches_come_from_the_same_seed(name):
    config = SMALL.model_copy(
        update={"generator": name, "noise": 8, "flow_width": 8, "flow_steps": 2, "window": 32}
    )
    networks = built(config)
    one, same, other = (drawn(networks, 1, 3, seed, config) for seed in (5, 5, 6))
    assert one.shape == (3, 32, 32) and one.dtype == np.uint8
    assert (one == same).all() and (one != other).any()


@pytest.mark.parametrize(("share", "number"), [(1.0, 12), (0.5, 6), (0.0, 0)])
def test_a_batch_of_a_check_has_its_share_of_generated_patches(share, number):
    config = SMALL.model_copy(update={"trains": "check", "generated_share": share})
    config = config.model_copy(update={"check": config.check.model_copy(update={"batch": 12})})
    real = windows(Images([FLAT] * 3, TWO), config)
    made = np.full((9, 64, 64), 255, np.uint8), np.arange(9) % 3
    batch = _with_generated(0, real, *made, config)
    white = (batch["image"] == 1).flatten(1).all(1)
    assert white.sum() == number and len(batch["label"]) == 12
    kinds = [int(name.split()[1]) % 3 for name in batch["where"][:number]]
    assert batch["label"][:number].tolist() == kinds
    assert set(batch["label"].tolist()) <= set(GENERATED)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["dcgan", "flow"])
def test_a_check_trains_its_generators_once_and_another_takes_them(name, tmp_path):
    short = {"steps": 4, "batch": 6, "validate_every": 2}
    config = SMALL.model_copy(
        update={
            "trains": "check", "generator": name, "window": 32, "noise": 8, "flow_width": 8,
            "flow_steps": 2, "generated": 300, "gan_patches": 30, "validation_patches": 64,
            **{k: getattr(SMALL, k).model_copy(update=short) for k in ("dcgan", "flow", "check")},
        }
    )  # fmt: skip
    own = Images([FLAT] * 3, TWO)
    quiet = Hardware("cpu", precision="fp32", threads=1, progress=False)
    made = train_check(own, own, config, tmp_path / "a", quiet)
    weights = {f"{part}.{k}": v for part, net in made.items() for k, v in net.state_dict().items()}
    save_model(tmp_path / "a/model", method="second_look", config=config, weights=weights)
    assert len(list((tmp_path / "a/generated").glob("*.npy"))) == 3
    assert list((tmp_path / "a/stages").glob(f"{name}-*/pictures/*.png"))
    more = config.model_copy(update={"init": str(tmp_path / "a"), "generated_share": 0.5})
    again = train_check(own, own, more, tmp_path / "b", quiet)
    for key, value in made["generator"].state_dict().items():
        assert torch.equal(again["generator"].state_dict()[key], value)
    assert not list((tmp_path / "b/stages").glob(f"{name}-*"))
    assert not (
        tmp_path / "b/generated"
    ).exists()  # from the same generator they are those of the other
    other = more.model_copy(update={"seed": 1})
    seeded = train_check(own, own, other, tmp_path / "d", quiet)
    assert not (tmp_path / "d/generated").exists()
    trained = [made["network"].state_dict() for made in (again, seeded)]
    assert any(not torch.equal(value, trained[1][key]) for key, value in trained[0].items())
    wider = more.model_copy(update={"flow_width": 16, "noise": 16})
    with pytest.raises(SecondReaderError, match=r"generator\."):
        train_check(own, own, wider, tmp_path / "c", quiet)


# ------------------------------------------------------------------------------ figures


def test_accuracy_counts_patches_alike_and_balanced_accuracy_classes():
    # Two women: of nothing 3 of 4 right, of malignant 1 of 2.
    answers = np.array([0, 0, 0, 1, 1, 0])
    labels = np.array([0, 0, 0, 0, 1, 1])
    got = class_figures(
        np.eye(4)[answers], labels, ["a", "b", "a", "b", "a", "b"],
        level="patch", reader="x", resamples=100, seed=0,
    )  # fmt: skip
    values = {f.name: f.value for f in got}
    assert values["accuracy"] == pytest.approx(4 / 6)
    assert values["balanced_accuracy"] == pytest.approx((3 / 4 + 1 / 2) / 2)
    assert values["recall_of_malignant"] == pytest.approx(1 / 2)
    assert {(f.level, f.label_rule) for f in got} == {("patch", "visible")}
    assert "4 nothing, 2 malignant" in got[0].note


def test_an_image_is_flagged_as_the_most_severe_answer_of_any_window():
    sure = np.array([[0.9, 0, 0.1, 0], [0.2, 0.1, 0.6, 0.1], [0.1, 0.2, 0.1, 0.6]])
    assert called(sure).tolist() == [0, 0, 1, 0]
    assert called(sure[:1]).tolist() == [1, 0, 0, 0]
    assert called(sure[:0]).tolist() == [1, 0, 0, 0]


def test_a_region_is_a_windows_by_the_rule_of_lesions():
    class Found(torch.nn.Module):
        def forward(self, images):
            boxes = torch.tensor([[20.0, 20, 40, 40], [20.0, 20, 40, 40], [150.0, 150, 170, 170]])
            return [{"boxes": boxes, "labels": torch.tensor([1, 2, 1]),
                     "scores": torch.tensor([0.6, 0.3, 0.9]), "masks": torch.zeros(3, 1, 1, 1)}]  # fmt: skip

    reader = SecondLook(SMALL, Found())
    # The first window holds the first box, the second half of it, the third less, the last nothing.
    places = np.array([[32, 32], [62, 32], [64, 32], [32, 150]])
    got = reader._in_windows(reader._detected(FLAT), places)
    assert got[:, 1].tolist() == pytest.approx([0.6, 0.6, 0, 0])
    assert got[:, 2].tolist() == pytest.approx([0.3, 0.3, 0, 0])
    assert got[:, 0].tolist() == pytest.approx([0.4, 0.4, 1, 1])


def test_the_area_of_own_kinds_is_by_image_and_exact():
    names = [f"woman {i}" for i in range(40)]
    got = own_kinds(
        np.tile([0.9, 0.2, 0.5, 0.2], 10), np.tile([True, True, False, False], 10), names,
        reader="x", resamples=100, seed=0,
    )  # fmt: skip
    assert {(f.name, f.level) for f in got} == {("auc_own_kinds", "image")}
    assert got[0].value == pytest.approx(2.5 / 4)
    assert (got[0].positives, got[0].negatives, got[0].patients) == (20, 20, 40)


def test_of_malignant_lesions_the_recall_leaves_benign_ones_out():
    # One woman with a cancer that is found and a benign lesion that is not, one with a benign lesion
    # that is found, and another whose cancer is missed: 1 of 2 cancers, without a false alarm.
    both = [lesion(50, 50, 9), lesion(150, 50, 9, Pathology.BENIGN)]
    truth = [both, [lesion(50, 50, 9, Pathology.BENIGN)], [lesion(50, 50, 9)]]
    at = Detection(Kind.SUSPICIOUS_REGION, Circle(50, 50, 5), 0.7)
    records = [
        ImageRecord("x", f"{i}.png", f"w{i}", f"e{i}", malignant=i != 1, lesions=tuple(own))
        for i, own in enumerate(truth)
    ]
    got = malignant_lesions(
        records, [[at], [at], []], Kind.SUSPICIOUS_REGION, reader="x", resamples=100, seed=0
    )
    values = {f.name: f for f in got}
    assert values["malignant_recall_at_1_fp_on_all"].value == pytest.approx(1 / 2)
    assert values["malignant_average_precision"].value == pytest.approx(1 / 2)
    assert {(f.level, f.hit_rule) for f in got} == {("region", "centre_in_region")}
    assert all(f.note.startswith("benign lesions are ignored") for f in got)


def test_an_image_of_which_little_is_sure_does_not_score_nothing():
    torch.manual_seed(0)
    network = mask_rcnn(SMALL)
    last = network.roi_heads.box_predictor.cls_score
    torch.nn.init.zeros_(last.weight)
    last.bias.data = torch.tensor([0.985, 0.006, 0.005, 0.004]).log()
    reading = SecondLook(SMALL, network).read(mammogram(breast()))
    assert reading.score == pytest.approx(0.006, rel=1e-3)


def test_one_kind_of_lesion_alone_is_found_as_that_kind():
    clusters = SMALL.model_copy(update={"kinds": (Kind.CALCIFICATION_CLUSTER,)})
    assert SecondLook(clusters, Finds()).kind is Kind.CALCIFICATION_CLUSTER
    assert SecondLook(SMALL, Finds()).kind is Kind.SUSPICIOUS_REGION
    assert class_of(lesion(1, 1, 1), clusters) is None


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


def test_figures_are_of_the_regions_that_a_reading_reports():
    pixels = breast()
    pixels[280:320, 100:140] = 1.0
    prepared, frame = prepare(mammogram(pixels), SMALL)
    own = Images([prepared], [[]])
    own.frames = (frame,)
    reader = SecondLook(SMALL, Finds())
    _, (strongest,), ((found,),) = reader._in_all(own, windows(own, SMALL, reading=True))
    assert strongest.tolist() == pytest.approx([0, 0.7, 0.9, 0])
    (told,) = reader.read(mammogram(pixels)).detections
    assert (found.kind, found.score) == (told.kind, told.score)
    assert geometry.iou(found.region, told.region) == 1


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


@pytest.mark.parametrize("side", [160, 161, 174, 191, 192])
def test_each_window_has_its_place_in_the_map_where_the_last_lies_nearer(side):
    config = SMALL.model_copy(update={"trains": "votes"})
    places = window_places(np.full((256, side), 0.5, np.float32), config)
    scores = np.arange(1.0, len(places) + 1, dtype=np.float32)
    heat, grid = SecondLook(config, Bright())._map(places, scores, geometry.identity((256, side)))
    assert sorted(heat[heat > 0].tolist()) == scores.tolist()
    at = np.array([np.argwhere(heat == score)[0] for score in scores], float)
    apart = geometry.to_source(grid, at) - places
    assert (np.abs(apart) < config.step()).all()


@pytest.mark.parametrize("trains", ["regions", "votes", "shrunk", "check"])
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
