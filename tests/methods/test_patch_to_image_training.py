"""What is trained: patches that are hard, tops, tuning, the forest, and figures of patches."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from torchvision.models import resnet50, vgg16

from methods.test_few_steps import Films
from methods.test_patch_to_image import SMALL, named
from secondreader.domain import Kind, Lesion, Part, Pathology, SecondReaderError
from secondreader.learning.augment import AugmentSettings
from secondreader.learning.configuration import resolve
from secondreader.learning.hardware import Hardware
from secondreader.methods.patch_to_image import Config, load, train
from secondreader.methods.patch_to_image.architecture import parse
from secondreader.methods.patch_to_image.data import Whole, augmented, ready, truth
from secondreader.methods.patch_to_image.forest import train_forest
from secondreader.methods.patch_to_image.network import ImageClassifier, PatchClassifier
from secondreader.methods.patch_to_image.patch_figures import found_classes
from secondreader.methods.patch_to_image.train import (
    _image_figures,
    _only,
    _patch_figures,
    _upper,
    _used,
)

PACKAGE = "secondreader.methods.patch_to_image"
QUIET = Hardware("cpu", precision="fp32", threads=1, progress=False)
FEW = [
    f"{stage}.{key}={value}"
    for stage, steps in (("last", 1), ("upper", 1), ("every", 1), ("scratch", 2), ("top", 1),
                         ("whole", 1), ("tune", 1))
    for key, value in (("steps", steps), ("validate_every", 1), ("batch", 2))
]  # fmt: skip
OWN, HELD = Films(1), Films(2)
LOWER = {"features.2.weight", "features.2.bias"}
"""Of VGG16's first block, though its name begins as those of the last two do."""


def trained(run, init="none", **settings):
    told = [f"{key}={json.dumps(value)}" for key, value in settings.items()]
    config = resolve(Config, PACKAGE, "smoke", [*FEW, "validation_patches=8", *told], init=init)
    train(config, OWN, HELD, run, hardware=QUIET)
    return load(run / "model")


@pytest.fixture(scope="module")
def patches(tmp_path_factory):
    run = tmp_path_factory.mktemp("patches")
    return run, trained(run, trains="patch", hard=4.0)


@pytest.fixture(scope="module")
def image(tmp_path_factory, patches):
    run = tmp_path_factory.mktemp("image")
    return run, trained(run, str(patches[0]), trains="top")


def weights(reader):
    return reader.network.state_dict()


def test_hard_patches_are_drawn_more_often_in_the_second_half_from_random_weights(patches):
    run, _ = patches
    sums = np.load(run / "stages/hard.npy", allow_pickle=False)
    each = np.diff(sums, prepend=0.0)
    assert (each >= 1).all() and (each <= 5).all() and np.ptp(each) > 0
    assert {p.parent.name for p in run.glob("stages/*/done.json")} == {"patches-first", "patches"}


def test_given_weights_are_trained_on_in_three_stages_from_the_last_layer_down(patches, tmp_path):
    trained(tmp_path, str(patches[0]), trains="patch", hard=4.0)
    stages = {p.parent.name for p in tmp_path.glob("stages/*/done.json")}
    assert stages == {"patches-last", "patches-upper", "patches"}
    assert (tmp_path / "stages/hard.npy").is_file()


@pytest.mark.parametrize(
    ("name", "ours", "theirs"),
    [
        ("resnet50", resnet50, ("layer4.", "layer3.5.")),
        ("vgg16", vgg16, ("features.17", "features.19", "features.2")),
    ],
)
def test_the_second_stage_is_46_of_keras_layers_of_resnet50_and_11_of_vgg16(name, ours, theirs):
    """Torchvision's layer4 and the last unit of layer3; the last two blocks: features 17 to 28."""
    network = PatchClassifier(name, 3)
    (group,) = _only(network, _upper)
    whole = ours(weights=None).named_parameters()
    wanted = sum(p.numel() for n, p in whole if n.startswith(theirs) and n not in LOWER)
    classes = sum(p.numel() for p in network.classes.parameters())
    assert sum(p.numel() for p in group["params"]) == wanted + classes


def test_a_stage_leaves_the_losses_of_both_parts_at_each_validation(patches):
    run, _ = patches
    told = json.loads((run / "stages/patches/done.json").read_text())["history"]
    assert {"step", "training_loss", "validation_loss", "accuracy", "balanced"} <= set(told[0])
    assert all(np.isfinite(list(row.values())).all() for row in told)


def test_calling_every_patch_background_is_no_good_network_to_stop_at(patches):
    class Background(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.says = torch.nn.Parameter(torch.tensor([1.0, 0, 0, 0, 0]))

        def forward(self, image):
            return self.says.expand(len(image), -1)

    batch = {"image": torch.zeros(8, 1, 96, 96), "label": torch.tensor([0, 0, 0, 0, 1, 2, 3, 4])}
    with torch.no_grad():
        told = _patch_figures(Background(), [batch], Config(patch=96))
    assert (told["accuracy"], told["balanced"]) == pytest.approx((0.5, 0.2))
    done = json.loads((patches[0] / "stages/patches/done.json").read_text())
    assert done["figure"] == max(row["balanced"] for row in done["history"])


def test_accuracy_of_patches_is_the_share_that_is_right_over_all_and_each_class(patches):
    _, reader = patches
    figures, curves = reader.own_figures(
        {Part.TEST: HELD}, Part.TEST, reader="x", resamples=50, seed=0
    )
    assert curves == []
    whole = next(f for f in figures if not f.group)
    classes = [f for f in figures if f.group]
    assert whole.level == "patch" and whole.patients == 4  # two of six films are normal
    assert sum(f.positives for f in classes) == whole.positives
    counted = sum(f.value * f.positives for f in classes)
    assert whole.value == pytest.approx(counted / whole.positives)


def test_right_patches_are_those_whose_class_is_found(patches):
    """With a last layer that says malignant mass whatever it sees, that class alone is right."""
    from secondreader.methods.patch_to_image.data import patches as drawn_of

    _, reader = patches
    last = reader.patches.classes
    kept = last.bias.data.clone()
    last.bias.data[2] += 1e6
    drawn = drawn_of(ready(HELD, reader.config), reader.config)
    found = found_classes(reader.patches, drawn, reader.config)
    last.bias.data.copy_(kept)
    assert (found == 2).all() and len(found) == len(drawn.label)


def test_a_whole_image_classifier_has_no_figure_of_patches(image):
    told = image[1].own_figures({Part.TEST: HELD}, Part.TEST, reader="x", resamples=50, seed=0)
    assert told == ([], [])


def test_a_top_begins_with_the_patch_classifier_and_tuning_with_all_of_the_image_classifier(
    image, patches, tmp_path
):
    before, after = (
        weights(r[1])["patches.mean" if r is image else "mean"] for r in (image, patches)
    )
    assert before == after  # the training images' mean grey value comes with it
    tuned = trained(tmp_path, str(image[0]), trains="tune", patients=4)
    first, second = weights(image[1]), weights(tuned)
    assert set(first) == set(second)
    near = [float((first[k] - second[k]).abs().max()) for k in first if k.startswith("outputs")]
    assert 0 < max(near) < 0.05  # one step away


def test_tuning_that_is_validated_once_ends_with_its_last_step(image, tmp_path):
    once = {"tune.steps": 2, "tune.validate_every": 1_000_000}
    trained(tmp_path, str(image[0]), trains="tune", **once)
    done = json.loads((tmp_path / "stages/tune/done.json").read_text())
    assert done["step"] == 2 and [row["step"] for row in done["history"]] == [2]


def test_tuning_another_network_is_one_line(image, tmp_path):
    with pytest.raises(
        SecondReaderError, match=r"^--init: got a model of architecture resnet_small"
    ):
        trained(tmp_path, str(image[0]), trains="tune", architecture="resnet_small + 32x1 + 8x1")
    with pytest.raises(SecondReaderError, match=r"^--init: got a model of patch 96, expected 64"):
        trained(tmp_path, str(image[0]), trains="forest", patch=64)
    with pytest.raises(SecondReaderError, match=r"^--init: got 'none', expected the model folder"):
        trained(tmp_path, "none", trains="tune")


@pytest.mark.parametrize("trains", ["top", "forest"])
def test_what_stands_on_a_patch_classifier_asks_for_one(trains, tmp_path):
    with pytest.raises(
        SecondReaderError, match=r"^--init: got 'none', expected the model folder of"
    ):
        trained(tmp_path, "none", trains=trains)


def test_a_forest_of_one_kind_of_images_is_one_line(patches):
    network, own = patches[1].patches, Whole.of(ready(OWN, patches[1].config))
    for told, count in ((np.zeros_like(own.truth), 6), (np.full_like(own.truth, np.nan), 0)):
        line = f"^training: got 0 malignant of {count} images that are known, expected some of each"
        with pytest.raises(SecondReaderError, match=line):
            train_forest(network, replace(own, truth=told), patches[1].config)


def test_a_forest_reads_with_the_trees_that_were_fitted(patches, tmp_path):
    reader = trained(tmp_path, str(patches[0]), trains="forest", trees=5)
    reading = reader.read(HELD.open(HELD.records[1]))
    assert reader.trees and 0 <= reading.score <= 1
    assert reading.heatmap.values.shape[0] > 1


def test_images_are_stopped_by_ranks_of_logits_however_large():
    held = Whole.of(ready(HELD, resolve(Config, PACKAGE, "smoke", [])))
    order = np.argsort(np.argsort(held.truth[:, 0], kind="stable"))

    class Sure(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.shift = torch.nn.Parameter(torch.tensor(20.0))
            self.seen = 0

        def forward(self, image):
            logits = self.shift + torch.from_numpy(order[self.seen : self.seen + len(image)])
            self.seen += len(image)
            return torch.stack([logits, -logits], 1).float()

    with torch.no_grad():
        told = _image_figures(Sure(), held, Config())
    assert told["auc"] == told["malignant"] == 1


def test_malignant_images_count_as_much_as_the_others_in_the_loss_of_validation():
    """As in training: of six films two are malignant, four of six have something abnormal."""
    held = Whole.of(ready(HELD, resolve(Config, PACKAGE, "smoke", [])))

    class Surely(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.says = torch.nn.Parameter(torch.tensor([2.0, 0.0]))

        def forward(self, image):
            return self.says.expand(len(image), -1)

    with torch.no_grad():
        told = _image_figures(Surely(), held, Config())
    yes, no, even = np.log1p(np.exp(-2)), np.log1p(np.exp(2)), np.log(2)
    assert told["validation_loss"] == pytest.approx(((yes + even) / 2 + (no + even) / 2) / 2)


def test_whole_images_move_the_layer_that_tells_patches_apart_only_through_a_heatmap():
    for text, moves in ((SMALL.architecture, False), ("resnet_small + heatmap + 8x1 + 8x1", True)):
        network = ImageClassifier(PatchClassifier("resnet_small", 3), parse(text), (8, 6))
        (group,) = _only(network, _used)
        network(torch.rand(2, 1, 256, 192)).sum().backward()
        assert all(p.grad is not None for p in group["params"])  # or several processes would wait
        last = network.patches.classes.weight
        assert last.requires_grad is moves
        assert any(p is last for p in group["params"]) is moves


def test_a_lone_calcification_that_is_benign_at_sight_is_nothing_abnormal():
    record = replace(OWN.records[0], malignant=False, lesions=())
    at_sight = Lesion(
        "x", Kind.MICROCALCIFICATION, None, pathology=Pathology.BENIGN_WITHOUT_CALLBACK
    )
    mass = Lesion("y", Kind.MASS, None, pathology=Pathology.BENIGN)
    assert truth(record) == (0.0, 0.0)
    assert truth(replace(record, lesions=(at_sight,))) == (0.0, 0.0)
    assert truth(replace(record, lesions=(at_sight, mass))) == (0.0, 1.0)
    assert truth(replace(record, malignant=True)) == (1.0, 1.0)
    assert np.isnan(truth(replace(record, malignant=None))).all()


@pytest.mark.parametrize("shape", [(96, 64), (64, 96), (64, 64)])
def test_a_whole_image_that_is_flipped_keeps_every_pixel(shape):
    flips = Config(augment=AugmentSettings(turns=False))
    image = torch.rand(1, 1, *shape, generator=torch.Generator().manual_seed(0)) + 0.1
    batch = {"image": image.repeat(24, 1, 1, 1)}
    made = augmented(batch, torch.Generator().manual_seed(0), flips, None)["image"]
    mirrored = [image[0], image[0].flip(1), image[0].flip(2), image[0].flip(1, 2)]
    found = {
        number
        for one in made
        for number, other in enumerate(mirrored)
        if torch.allclose(one, other, atol=1e-4)
    }
    assert found == {0, 1, 2, 3}
    assert all(any(torch.allclose(one, other, atol=1e-4) for other in mirrored) for one in made)


@pytest.mark.slow
@pytest.mark.parametrize("architecture", sorted(named("shen2019")))
def test_every_named_architecture_trains_a_step_of_each_stage_and_reads(architecture, tmp_path):
    assert parse(architecture).backbone in ("resnet50", "vgg16", "vgg16_bn")
    more = {"trees": 5, "patch": 64, "size": [192, 160]}  # the least that pool5 takes
    reader = trained(tmp_path, trains="image", architecture=architecture, **more)
    assert 0 <= reader.read(HELD.open(HELD.records[1])).score <= 1
