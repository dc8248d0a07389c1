"""The anomaly cascade's parts do what the paper says, and its reader refuses politely."""

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
    Mask,
    Pathology,
    Point,
)
from secondreader.learning.folding import folded
from secondreader.learning.model_folder import save_model
from secondreader.methods.anomaly_cascade import Config, load
from secondreader.methods.anomaly_cascade.losses import objective, residual, t_test
from secondreader.methods.anomaly_cascade.network import HALO, STRIDE, UNet
from secondreader.methods.anomaly_cascade.prepare import prepare
from secondreader.methods.anomaly_cascade.proposals import proposals, suspicion_map
from secondreader.methods.anomaly_cascade.reader import AnomalyCascade

numbers = st.lists(st.floats(0, 3, width=32), min_size=2, max_size=12)


@given(numbers, numbers, st.floats(0.2, 1.6), st.floats(0, 1), st.floats(0, 1))
def test_the_t_test_loss_is_equation_6_with_the_negatives_variance(p, n, beta, lp, ln):
    wanted = max(beta - np.mean(p), 0) + np.mean(n)
    wanted += lp * np.var(p, ddof=1) + ln * np.var(n, ddof=1)
    got = t_test(torch.tensor(p), torch.tensor(n), beta, lp, ln)
    assert float(got) == pytest.approx(wanted, rel=1e-4, abs=1e-5)


def test_what_is_not_there_adds_nothing():
    none = torch.zeros(0)
    assert float(t_test(none, torch.tensor([0.5, 0.5]), 0.8, 1, 0.1)) == pytest.approx(0.5)
    assert float(t_test(torch.tensor([0.5]), none, 0.8, 1, 0.1)) == pytest.approx(0.3)


def test_residuals_are_those_of_table_5():
    image, drawn = torch.tensor([1.0, 1.0, 1.0]), torch.tensor([1.0, 0.5, -1.0])
    assert residual(image, drawn, "l1").tolist() == [0, 0.5, 2]
    assert residual(image, drawn, "l2").tolist() == [0, 0.25, 4]
    assert residual(image, drawn, "smooth_l1").tolist() == [0, 0.125, 1.5]


@pytest.mark.parametrize(
    "name", ["t_test", "equation_10", "mean_squared", "huber", "cross_entropy"]
)
def test_each_objective_is_what_it_is_called(name):
    config = Config(objective=name)
    image = torch.tensor([[[[0.0, 0.2, 1.0, 0.4]]]])
    drawn = torch.tensor([[[[0.1, 0.2, -0.5, 3.0]]]])
    truth = torch.tensor([[[[False, False, True, False]]]])
    known = torch.tensor([[[[True, True, True, False]]]])
    r = np.array([0.1, 0.0, 1.5])
    wanted = {
        "t_test": max(0.8 - 1.5, 0) + 0.05 + 0.1 * np.var([0.1, 0.0], ddof=1),
        "equation_10": 0.05,
        "mean_squared": np.mean(r**2),
        "huber": np.mean([0.5 * 0.01, 0, 0.8 * (1.5 - 0.4)]),
        "cross_entropy": np.mean(
            [np.log1p(np.exp(0.1)), np.log1p(np.exp(0.2)), np.log1p(np.exp(0.5))]
        ),
    }[name]
    assert float(objective(image, drawn, truth, known, config)) == pytest.approx(wanted, rel=1e-4)


def test_the_network_has_three_stages_of_three_convolutions_each_way():
    network = UNet(4)
    convolutions = [m for m in network.modules() if isinstance(m, torch.nn.Conv2d)]
    assert len(convolutions) == 3 * (3 + 1 + 3) + 1
    assert network(torch.zeros(2, 1, 40, 24)).shape == (2, 1, 40, 24)


def trained_once(width=4):
    """A network whose batch normalisation has seen something."""
    torch.manual_seed(0)
    network = UNet(width, norm=True)
    network.train()
    for _ in range(3):
        network(torch.randn(4, 1, 64, 64))
    return network.eval()


@pytest.mark.parametrize("norm", [False, True])
def test_the_network_joins_and_pools_as_a_u_net_does(norm):
    network = UNet(4, norm).eval()
    image = torch.rand(2, 1, 48, 32)
    x, kept = image, []
    for stage in network.down:
        kept.append(stage(x))
        x = torch.nn.functional.max_pool2d(kept[-1], 2)
    x = network.bottom(x)
    for lift, stage, skip in zip(network.lift, network.up, kept[::-1], strict=True):
        x = torch.cat([lift(x), skip], dim=1)
        x = torch.nn.functional.conv2d(x, stage[0].weight, stage[0].bias, padding=1)
        for layer in list(stage)[1:]:
            x = layer(x)
    with torch.no_grad():
        assert torch.allclose(network(image), network.out(x), atol=1e-5)
        assert torch.allclose(folded(network)(image), network.out(x), atol=1e-4)


def test_nothing_beyond_the_halo_changes_an_output():
    network = trained_once()
    image = torch.randn(1, 1, 2 * HALO + 16, 2 * HALO + 16)
    other = image.clone()
    other[..., :8, :] = 5.0
    with torch.no_grad():
        same = torch.isclose(network(image), network(other), atol=1e-5)[0, 0]
    assert same[8 + HALO :].all()
    assert not same[:8].all()


@settings(deadline=None, max_examples=5)
@given(st.integers(130, 300), st.integers(70, 200))
def test_tiles_are_the_whole_image(rows, cols):
    network = trained_once()
    rng = np.random.default_rng(rows)
    image = np.clip(rng.random((rows, cols)), 0.01, 1).astype(np.float16)
    tiled = suspicion_map(network, image, Config(tile=64), half=False)
    whole = suspicion_map(network, image, Config(tile=2048), half=False)
    assert tiled.shape == (rows, cols)
    assert np.allclose(tiled, whole, atol=1e-4)
    # In bfloat16 the map is the same to what the rounding of each layer leaves.
    rough = suspicion_map(network, image, Config(tile=64), half=True)
    assert not np.array_equal(rough, tiled)
    assert np.sqrt(np.mean((rough - whole) ** 2)) < 0.01 * max(1.0, float(whole.max()))
    assert STRIDE == 8


def test_beyond_the_image_lies_background_at_the_chest_wall_too():
    network = trained_once()
    image = np.full((80, 48), 0.6, np.float16)
    image[40, 2] = 1.0
    framed = np.zeros((80 + 64, 48 + 64), np.float16)
    framed[32 : 32 + 80, 32 : 32 + 48] = image
    alone = suspicion_map(network, image, Config(), half=False)
    around = suspicion_map(network, framed, Config(), half=False)
    assert np.allclose(alone, around[32 : 32 + 80, 32 : 32 + 48], atol=1e-4)


def test_components_become_points_with_their_sum():
    suspicious = np.zeros((20, 20), np.float32)
    suspicious[4, 4:6] = [1.0, 3.0]
    suspicious[10:12, 10:12] = 2.0
    suspicious[15, 15] = 0.7  # below the threshold
    suspicious[18, 2] = 9.0  # where nothing is looked for
    mask = np.ones((20, 20), bool)
    mask[17:] = False
    positions, scores = proposals(suspicious, mask, Config(threshold=0.8))
    assert scores.tolist() == [8.0, 4.0]
    assert positions.tolist() == [[10.5, 10.5], [4.0, 4.75]]
    assert len(proposals(suspicious, mask, Config(threshold=0.8, most=1))[1]) == 1
    assert len(proposals(suspicious, mask, Config(threshold=0.8, least_pixels=3))[1]) == 1
    assert len(proposals(np.zeros((5, 5), np.float32), np.ones((5, 5), bool), Config())[1]) == 0


def test_truth_keeps_small_calcifications_ignores_large_ones_and_takes_vessels_for_background():
    def lesion(region, **more):
        return Lesion("x", Kind.MICROCALCIFICATION, region, **more)

    square = Mask(np.ones((2, 2), bool), 5, 6)
    centres, pixels, ignored = Config(spacing_mm=0.2).truth(
        [
            lesion(square, diameter_mm=0.3),
            lesion(Point(20, 20)),
            lesion(Circle(30, 30, 9), diameter_mm=1.4),
            lesion(Point(12, 30), pathology=Pathology.BENIGN_WITHOUT_CALLBACK),
            lesion(Point(35, 5), visible=False),
            Lesion("m", Kind.MASS, Circle(3, 3, 2)),
            lesion(None),
        ],
        np.ones((40, 40), np.float16),
    )
    assert len(centres) == 2
    found = {tuple(p) for p in np.concatenate(pixels).tolist()}
    assert {(5, 6), (5, 7), (6, 6), (6, 7)} <= found
    assert (20, 20) in found
    assert (30, 30) in {tuple(p) for p in ignored.tolist()}
    # A vessel is background to the network, a hidden calcification is nothing at all.
    assert not {(12, 30), (35, 5), (3, 3)} & (found | {tuple(p) for p in ignored.tolist()})


# ------------------------------------------------------------------------------------- the reader


def breast(rows=400, cols=260):
    r, c = np.mgrid[0:rows, 0:cols]
    inside = np.hypot((r - rows / 2) / (0.45 * rows), c / (0.8 * cols)) < 1
    grain = np.random.default_rng(0).normal(0, 0.01, (rows, cols))
    return np.where(inside, 0.45 + grain, 0).astype(np.float32)


def mammogram(pixels, spacing=0.2):
    return Mammogram(pixels, spacing and (spacing, spacing), None, None, ImageSource("x", bits=8))


@pytest.fixture(scope="module")
def reader(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    weights = {f"unet.{k}": v for k, v in trained_once().state_dict().items()}
    config = Config(
        width=4,
        norm=True,
        spacing_mm=0.2,
        objective="cross_entropy",
        detector="proposals",
        threshold=0.5,
    )
    save_model(folder, method="anomaly_cascade", config=config, weights=weights)
    return load(folder)


def test_what_is_prepared_is_the_breast_and_knows_where_it_lies():
    made = prepare(mammogram(breast()), Config(spacing_mm=0.2))
    pixels, frame = made
    assert len(np.unique(np.rint(pixels.astype(np.float64) * 255))) == len(np.unique(pixels))
    r, c = np.argwhere(pixels > 0).mean(axis=0)
    source = geometry.to_source(frame, np.array([r, c]))
    assert source == pytest.approx(np.argwhere(breast() > 0).mean(axis=0), abs=4)


def test_full_depth_keeps_what_eight_bits_lose():
    # Of 14 bits, the working pixel being the image's own.
    values = (np.rint(breast() * (2**14 - 1)) / (2**14 - 1)).astype(np.float32)
    whole, _ = prepare(mammogram(values), Config(spacing_mm=0.2, depth="full"))
    few, _ = prepare(mammogram(values), Config(spacing_mm=0.2))
    assert np.isin(whole[whole > 0], values).all()
    assert not np.isin(few[few > 0], values).all()
    assert len(np.unique(whole)) > 10 * len(np.unique(few))


class Bright(torch.nn.Linear):
    """A first stage that is sure of whatever is bright."""

    def forward(self, image):
        return 20 * (image - 1)  # brighter than three quarters


def test_points_lie_on_what_is_bright_in_source_pixels_and_make_a_cluster():
    # Dots of four pixels of 0.1 mm, read at 0.2 mm after the breast is cut out.
    dots = [(400, 200), (430, 230), (400, 260), (450, 200)]
    pixels = breast(800, 520)
    for row, col in dots:
        pixels[row - 1 : row + 3, col - 1 : col + 3] = 0.95
    config = Config(spacing_mm=0.2, objective="cross_entropy", detector="proposals", threshold=0.5)
    reading = AnomalyCascade(config, {"unet": Bright(1, 1)}).read(mammogram(pixels, 0.1))
    points = [d for d in reading.detections if d.kind is Kind.MICROCALCIFICATION]
    found = sorted(tuple(np.round(geometry.centre(d.region), 2)) for d in points)
    assert np.abs(np.array(found) - np.array(sorted(dots)) - 0.5).max() < 1.1
    (cluster,) = [d for d in reading.detections if d.kind is Kind.CALCIFICATION_CLUSTER]
    assert np.abs(np.array(geometry.centre(cluster.region)) - np.mean(dots, axis=0)).max() < 20
    assert reading.score == cluster.score > 0
    # Hot where the dots are, and nowhere that nothing may be found.
    heat = reading.heatmap.values
    assert heat.max() > 0.99 and np.count_nonzero(heat > 0.5) < 40


@pytest.mark.parametrize(
    ("image", "code"),
    [
        (mammogram(breast(), None), "no-spacing"),
        (mammogram(breast(), 0.3), "too-coarse"),
        (mammogram(np.zeros((300, 200), np.float32)), "no-breast"),
        (mammogram(breast(64, 40), 0.001), "too-small"),
    ],
)
def test_what_it_cannot_read_it_refuses_with_a_reason(reader, image, code):
    reading = reader.read(image)
    assert reading.refused is not None
    assert reading.refused[0] == code
    assert reading.score is None


@pytest.mark.parametrize(
    ("pixels", "code"),
    [
        (np.ones((300, 200), np.float32), "no-breast"),  # saturated
        (breast(15, 9), "too-small"),
        (np.full((1, 1), 0.5, np.float32), "too-small"),
    ],
)
def test_saturated_and_tiny_images_are_refused_each_with_its_reason(reader, pixels, code):
    reading = reader.read(mammogram(pixels))
    assert reading.refused is not None and reading.refused[0] == code
    assert reading.score is None and not reading.detections
