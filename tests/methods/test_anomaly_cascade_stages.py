"""The cascade's second stage, its baseline and its training: what is proposed, kept, and counted."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from secondreader.domain import Circle, Detection, Kind, Lesion, Point, SecondReaderError
from secondreader.evaluation import froc
from secondreader.evaluation.matching import HIT_RULES
from secondreader.evaluation.scored import ScoredImage
from secondreader.learning.hardware import Hardware
from secondreader.learning.model_folder import save_model
from secondreader.learning.positions import of_masks, of_points
from secondreader.learning.targets import edges_of
from secondreader.methods.anomaly_cascade.boxes import faster_rcnn, found_boxes
from secondreader.methods.anomaly_cascade.boxes_training import _batch
from secondreader.methods.anomaly_cascade.candidates import best_cut
from secondreader.methods.anomaly_cascade.config import BoxSettings, Config
from secondreader.methods.anomaly_cascade.joint import Joint, joint_loss, picked, products
from secondreader.methods.anomaly_cascade.maps import Patches, _mean_recall
from secondreader.methods.anomaly_cascade.network import UNet, first_stage
from secondreader.methods.anomaly_cascade.proposals import Candidates, proposals, recalls
from secondreader.methods.anomaly_cascade.reader import AnomalyCascade
from secondreader.methods.anomaly_cascade.reduction import probabilities, reducer, windows
from secondreader.methods.anomaly_cascade.reduction_training import windows_of
from secondreader.methods.anomaly_cascade.train import _first, _second

SMALL = Config(
    spacing_mm=0.2, width=4, patch=64, crop=24, crop_to=24, reducer="small", reducer_init="none",
    skin_mm=0, validation_patches=8, threshold=0.8, least_pixels=1,
    boxes=BoxSettings(backbone="resnet18", init="none", patch=128),
)  # fmt: skip


class Images:
    """Prepared images that lie in memory."""

    def __init__(self, arrays):
        self.arrays = arrays
        self.records = [type("Record", (), {"path": str(i)}) for i in range(len(arrays))]

    def __len__(self):
        return len(self.arrays)

    def pixels(self, index):
        return self.arrays[index]


def patches_of(arrays, centres, ignored=None):
    """Patches of images whose calcifications are single bright pixels."""
    points = tuple(np.array(c, np.int32).reshape(-1, 2) for c in centres)
    none = tuple(np.zeros((0, 2), np.int32) for _ in arrays)
    boxes = tuple(np.column_stack([p, p]).astype(float) for p in points)
    masks = [np.ones(a.shape, bool) for a in arrays]
    return Patches(
        Images(arrays), of_points(points), of_masks(masks), points, boxes, points, ignored or none
    )


def dotted(shape, dots, level=0.4):
    image = np.full(shape, level, np.float16)
    for row, col in dots:
        image[row, col] = 1.0
    return image


# --------------------------------------------------------------------------- proposals


def test_touching_calcifications_are_parted_at_their_maxima_and_lose_nothing():
    r, c = np.mgrid[0:40, 0:60]
    suspicious = sum(np.exp(-((r - 20) ** 2 + (c - at) ** 2) / 8) for at in (20, 30)).astype("f4")
    mask = np.ones(suspicious.shape, bool)
    whole = proposals(suspicious, mask, Config(threshold=0.02, spacing_mm=0.1))
    parted = proposals(suspicious, mask, Config(threshold=0.02, spacing_mm=0.1, split_mm=0.4))
    assert len(whole[0]) == 1
    assert sorted(np.rint(parted[0]).tolist()) == [[20, 20], [20, 30]]
    assert parted[1].sum() == pytest.approx(whole[1].sum(), rel=1e-5)


places = st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30)), max_size=6)


@settings(deadline=None, max_examples=60)
@given(st.lists(st.tuples(places, places), min_size=1, max_size=3), st.integers(0, 1000))
def test_recall_for_choices_is_the_recall_that_evaluation_gives(images, seed):
    rng = np.random.default_rng(seed)
    truth = [np.array(t, float).reshape(-1, 2) for t, _ in images]
    found = [np.array(d, float).reshape(-1, 2) for _, d in images]
    scores = [rng.permutation(100)[: len(d)] + 100.0 * i for i, d in enumerate(found)]
    if not sum(map(len, truth)):
        return
    scored = [
        ScoredImage(
            str(i), str(i), str(i), spacing_mm=(0.2, 0.2), malignant=bool(len(t)), score=1.0,
            lesions=tuple(
                Lesion(f"{k}", Kind.MICROCALCIFICATION, Point(*p)) for k, p in enumerate(t.tolist())
            ),
            detections=tuple(
                Detection(Kind.MICROCALCIFICATION, Circle(*p, 1.0), float(s))
                for p, s in zip(d.tolist(), score, strict=True)
            ),
        )
        for i, (t, d, score) in enumerate(zip(truth, found, scores, strict=True))
    ]  # fmt: skip
    rates = (0.5, 1, 2)
    wanted = froc.recalls_at(
        froc.froc(froc.find(scored, HIT_RULES["zhang2019"]), np.ones((len(images), 1))), rates
    )[:, 0]
    none = [np.zeros((0, 2))] * len(images)
    got = recalls(Candidates(tuple(found), tuple(scores)), truth, none, 0.2, rates)
    assert got == pytest.approx(wanted)


class Mark(torch.nn.Module):
    """A network that leaves out what is bright: the residual of a bright pixel is its height."""

    def __init__(self):
        super().__init__()
        self.anything = torch.nn.Parameter(torch.zeros(1))

    def forward(self, image):
        return torch.where(image > 1, 0.0, image) + 0 * self.anything


def test_the_threshold_is_chosen_where_recall_is_highest():
    # Calcifications are dots of residual 2. Forty pairs of 1.6 on each image are not: their sums are
    # higher, so only a threshold between the two finds anything at thirty false alarms an image.
    dots = [(20, 20), (40, 40)]
    image = dotted((96, 96), dots, level=0.5)
    for number in range(40):
        row, col = 4 + 8 * (number // 4), 48 + 12 * (number % 4)
        image[row, col : col + 2] = 0.9
    own = patches_of([image] * 3, [dots] * 3)
    config = SMALL.model_copy(update={"threshold": None, "least_pixels": None})
    threshold, least, tried = best_cut(Mark(), own, config, Hardware(device="cpu", progress=False))
    assert 1.59 < threshold < 2 and least == 1
    assert max(t["mean_recall"] for t in tried) == 1
    assert all(t["mean_recall"] == 0 for t in tried if t["threshold"] < 1.59)
    assert max(t["mean_recall"] for t in tried if t["least_pixels"] > 1) == 0


class Faint(Mark):
    """A first stage that redraws all but a trace of what is bright."""

    def forward(self, image):
        return image - 0.1 * (image > 1) + 0 * self.anything


@pytest.mark.parametrize(
    ("objective", "recall"), [("t_test", 0), ("mean_squared", 1), ("huber", 1)]
)
def test_a_loss_without_a_margin_is_not_judged_by_one(objective, recall):
    dots = [(20, 20), (40, 40)]
    own = patches_of([dotted((96, 96), dots, level=0.5)] * 3, [dots] * 3)
    config = SMALL.model_copy(update={"threshold": None, "objective": objective})
    assert _mean_recall(Faint(), own, config) == recall


# --------------------------------------------------------------------------- second stage


def test_a_window_holds_its_proposal_in_the_middle_and_zeros_outside_the_image():
    image = dotted((30, 30), [(2, 3), (20, 20)])
    cut = windows(image, np.array([[2.2, 2.9], [20, 20]]), 8)
    assert cut.shape == (2, 1, 8, 8)
    assert cut[0, 0, 4, 4] == 1 and cut[1, 0, 4, 4] == 1
    assert (cut[0, 0, :2] == 0).all() and (cut[0, 0, :, 0] == 0).all()


@pytest.mark.parametrize("kind", ["small", "resnet50"])
def test_the_second_stage_gives_one_factor_a_proposal(kind):
    config = SMALL.model_copy(update={"reducer": kind, "crop_to": 32})
    network = reducer(config).eval()
    image = dotted((60, 60), [(30, 30)])
    positions = np.random.default_rng(0).uniform(0, 60, (70, 2))
    got = probabilities(network, image, positions, config)
    assert got.shape == (70,) and ((got > 0) & (got < 1)).all()
    # A window is judged alike whatever else is judged with it.
    assert got[65:] == pytest.approx(
        probabilities(network, image, positions[65:], config), rel=1e-4
    )
    assert probabilities(network, image, np.zeros((0, 2)), config).shape == (0,)


def test_the_final_score_is_the_product_of_both_stages():
    class Half(torch.nn.Linear):
        def forward(self, image):
            return torch.zeros(len(image), 1)  # a factor of one half

    dots = [(20, 20), (40, 44)]
    prepared = dotted((64, 64), dots, level=0.5)
    config = SMALL.model_copy(update={"detector": "cascade"})
    alone = AnomalyCascade(config.model_copy(update={"detector": "proposals"}), {"unet": Mark()})
    both = AnomalyCascade(config, {"unet": Mark(), "reducer": Half(1, 1)})
    at, first, _ = alone.points(prepared)
    there, product, _ = both.points(prepared)
    assert sorted(at.tolist()) == sorted(there.tolist()) == [[20, 20], [40, 44]]
    assert product == pytest.approx(first / 2)


def test_proposals_near_a_calcification_are_right_and_those_on_what_does_not_count_are_left_out():
    ignored = (np.array([[50, 50]], np.int32),)
    own = patches_of([dotted((64, 64), [(20, 20)])], [[(20, 20)]], ignored)
    found = Candidates((np.array([[22.0, 20], [50, 52], [5, 60]]),), (np.ones(3),))
    made = windows_of(own, found, SMALL)
    assert made.positive.at(np.arange(len(made.positive))).tolist() == [[0, 20, 20], [0, 22, 20]]
    assert made.negative.at(np.arange(len(made.negative))).tolist() == [[0, 5, 60]]
    batch = made.batch(3, 12, SMALL)
    middle = batch["image"].shape[-1] // 2
    near = batch["image"][:, 0, middle - 3 : middle + 4, middle - 3 : middle + 4].amax((1, 2))
    assert 0 < batch["label"].sum() < 12
    assert (near[batch["label"] == 0] < 0.5).all()


def test_without_a_false_proposal_there_is_nothing_to_learn():
    own = patches_of([dotted((64, 64), [(20, 20)])], [[(20, 20)]])
    with pytest.raises(SecondReaderError, match="0 false proposals"):
        windows_of(own, Candidates((np.zeros((0, 2)),), (np.zeros(0),)), SMALL)


# --------------------------------------------------------------------------- taken over


def saved(folder, **settings):
    """Leave a model folder of both stages, as they are drawn."""
    torch.manual_seed(0)
    config = SMALL.model_copy(update=settings)
    parts = {"unet": first_stage(config), "reducer": reducer(config)}
    weights = {f"{p}.{n}": v for p, net in parts.items() for n, v in net.state_dict().items()}
    save_model(folder, method="anomaly_cascade", config=config, weights=weights)
    return parts


def test_both_stages_of_a_model_are_taken_over_with_what_they_look_at(tmp_path):
    made = saved(tmp_path, width=6, beta=0.6, lambda_positive=0.0, redraws="difference", crop=16)
    own = patches_of([dotted((64, 64), [(20, 20)])], [[(20, 20)]])
    asked = {"init": str(tmp_path), "first_stage": "init", "second_stage": "init"}
    config = SMALL.model_copy(update={**asked, "threshold": None})
    first, told = _first(own, own, config, tmp_path, Hardware(progress=False))
    second, told = _second(first, own, own, told, tmp_path, Hardware(progress=False))
    assert (told.width, told.beta, told.lambda_positive, told.crop) == (6, 0.6, 0.0, 16)
    assert told.onto and told.threshold == SMALL.threshold
    for name, network in (("unet", first), ("reducer", second)):
        for key, value in made[name].state_dict().items():
            assert torch.equal(network.state_dict()[key], value)
    assert not list(tmp_path.glob("cut.json"))


def test_where_components_are_parted_anew_the_threshold_is_chosen_anew(tmp_path):
    saved(tmp_path)
    own = patches_of([dotted((64, 64), [(20, 20)])], [[(20, 20)]])
    update = {"init": str(tmp_path), "first_stage": "init", "split_mm": 0.4, "threshold": None}
    _first(own, own, SMALL.model_copy(update=update), tmp_path, Hardware(progress=False))
    assert (tmp_path / "cut.json").is_file()


def test_a_first_stage_of_another_pixel_size_is_refused(tmp_path):
    saved(tmp_path)
    config = SMALL.model_copy(
        update={"init": str(tmp_path), "first_stage": "init", "spacing_mm": 0.1}
    )
    with pytest.raises(SecondReaderError, match="expected those of the first stage"):
        _first(None, None, config, tmp_path, Hardware(progress=False))
    with pytest.raises(ValueError, match="expected both init"):
        Config(second_stage="init")


# --------------------------------------------------------------------------- both as one


def test_places_are_the_highest_maxima_and_the_calcifications_of_each_patch():
    found = torch.zeros(3, 1, 64, 64)
    found[0, 0, 30, 30], found[0, 0, 2, 2], found[1, 0, 40, 20] = 0.9, 1.0, 0.5
    found[2, 0, 30, 30], found[2, 0, 20, 20] = 0.9, 0.4
    truth = torch.zeros(3, 1, 64, 64, dtype=torch.bool)
    truth[1, 0, 25, 25] = True
    known = torch.ones_like(truth)
    known[2, 0, 29:32, 29:32] = False  # a calcification too large to count
    where, label = picked(found, truth, known, SMALL.model_copy(update={"joint_most": 1}))
    got = {tuple(w): v for w, v in zip(where.tolist(), label.tolist(), strict=True)}
    # (2, 2) is too near the border for a window; nothing is picked where a map is flat.
    assert got == {(0, 30, 30): 0.0, (1, 40, 20): 0.0, (1, 25, 25): 1.0, (2, 20, 20): 0.0}
    flat, _ = picked(torch.zeros_like(found), torch.zeros_like(truth), known, SMALL)
    assert len(flat) == 0


class Sure(torch.nn.Linear):
    """A second stage that says yes to everything."""

    def forward(self, windows):
        return torch.full((len(windows), 1), 20.0)


def test_a_calcification_that_both_stages_see_scores_nearly_one_as_it_is_read():
    image = torch.full((1, 1, 64, 64), 0.5)
    truth = torch.zeros(1, 1, 64, 64, dtype=torch.bool)
    truth[..., 30:32, 30:32] = True
    image[truth] = 0.8  # a residual of 1.2, of a margin of 0.8
    batch = {"image": image, "truth": truth, "known": torch.ones_like(truth)}
    _, product, label, patch = products(Joint(Mark(), Sure(1, 1)), batch, SMALL)
    assert (label == 1).all() and (patch == 0).all()
    # 1 - exp(-4 · 1.2 / 0.8)
    assert product.min().item() == pytest.approx(1 - np.exp(-6), abs=1e-4)


def test_what_the_second_stage_learns_reaches_the_first():
    torch.manual_seed(0)
    network = Joint(UNet(4), reducer(SMALL))
    image = torch.rand(3, 1, 64, 64) * 0.5 + 0.2
    truth = torch.zeros(3, 1, 64, 64, dtype=torch.bool)
    truth[:, 0, 30:32, 30:32] = True
    batch = {"image": image, "truth": truth, "known": torch.ones_like(truth)}
    first, product, label, _ = products(network, batch, SMALL)
    assert 0 < label.mean() < 1
    both = joint_loss(network, batch, SMALL)
    assert float(both.detach()) > float(first.detach())
    # The gradient of what the first stage's own loss does not hold.
    (both - first).backward(retain_graph=True)
    assert network.unet.out.weight.grad.abs().sum() > 0
    assert network.reducer[-1].weight.grad.abs().sum() > 0
    assert len(product) == len(label)


# --------------------------------------------------------------------------- boxes


class Bright(torch.nn.Linear):
    """Finds each bright pixel of a tile, as a detector with boxes would."""

    def forward(self, tiles):
        found = []
        for tile in tiles:
            at = torch.nonzero(tile[0] > 0.9).float()
            boxes = torch.cat([at.flip(1) - 1, at.flip(1) + 2], 1)
            found.append({"boxes": boxes, "scores": torch.linspace(0.9, 0.5, len(at))})
        return found


@settings(deadline=None, max_examples=20)
@given(st.sets(st.tuples(st.integers(0, 199), st.integers(0, 299)), max_size=12))
def test_every_box_is_found_once_and_its_middle_is_the_point(dots):
    image = dotted((200, 300), dots)
    at, scores = found_boxes(Bright(1, 1), image, np.ones(image.shape, bool), SMALL)
    assert sorted(map(tuple, at.tolist())) == sorted(
        map(tuple, np.array(list(dots), float).tolist())
    )
    assert (np.diff(scores) <= 0).all()


def test_boxes_have_torchvisions_edges_and_small_ones_are_widened():
    got = edges_of(torch.tensor([[10.0, 20, 19, 39], [5, 5, 5, 5]]), 4.0)
    assert got.tolist() == [[20, 10, 40, 20], [3.5, 3.5, 7.5, 7.5]]


def test_a_batch_of_boxes_shows_what_its_pixels_show():
    own = patches_of([dotted((200, 200), [(60, 70), (150, 90)])], [[(60, 70), (150, 90)]])
    batch = _batch(1, own, 6, SMALL, still=True)
    seen = 0
    for image, boxes in zip(batch["image"], batch["boxes"], strict=True):
        at = torch.nonzero(image[0] == 1).float() + 0.5
        middles = (boxes[:, [1, 0]] + boxes[:, [3, 2]]) / 2
        assert sorted(middles.tolist()) == sorted(at.tolist())
        seen += len(at)
    assert seen > 2


def test_patches_that_hold_what_does_not_count_are_left_out_of_the_baselines_loss():
    ignored = (np.array([[100, 100]], np.int32),)
    own = patches_of([dotted((200, 200), [(60, 70)])], [[(60, 70)]], ignored)
    where = np.array([[0, 100, 100], [0, 20, 20], [0, 163, 163], [0, 165, 165]])
    assert own.holds_ignored(where, 128).tolist() == [True, False, True, False]
    # A batch must hold something.
    assert own.holds_ignored(where[:1], 128).tolist() == [False]


def test_the_baseline_has_a_pyramid_and_takes_grey_images():
    network = faster_rcnn(SMALL.boxes).eval()
    with torch.no_grad():
        (got,) = network([torch.rand(1, 128, 128)])
    assert set(got) == {"boxes", "labels", "scores"}
    big = faster_rcnn(BoxSettings())
    # torchvision's Faster R-CNN ResNet50 FPN has 41.8 million for COCO's 91 classes and three anchors.
    assert 40e6 < sum(p.numel() for p in big.parameters()) < 42e6
