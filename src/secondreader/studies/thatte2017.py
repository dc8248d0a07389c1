"""Thatte et al. 2017: "Second Look", Mask R-CNN and classified patches on public data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from secondreader.studies.study import Cell, Cost, Measure, Recipe, Row, Study, Table

__all__ = ["STUDY"]

_COST = Cost(8, "estimated, one data-centre GPU; by the preset cpu about 20 minutes on two cores")
_CHECK = Cost(4, "estimated, one data-centre GPU; by the preset cpu 5 to 20 minutes on two cores")
_DATA = ("cbis_ddsm",)
_SPLIT = "seeded"
_OURS = "ours: the paper prints no such number"


def _recipe(settings: Mapping[str, str], start: str = "", against: tuple[str, ...] = ()) -> Recipe:
    """Return a recipe; what is measured by areas and accuracies alone needs no operating points."""
    return Recipe("second_look", "paper", settings, _DATA, _SPLIT, start=start, against=against,
                  fitted=False)  # fmt: skip


def _own(figure: str, level: str, hit_rule: str = "", percent: bool = False) -> Cell:
    return Cell("", percent, Measure(figure, level, hit_rule), note=_OURS)


def _less(row: str) -> Cell:
    """Return the paired difference in the area by image to another row."""
    return Cell("", measure=Measure("auc", "image", minus=row), note=_OURS)


# ------------------------------------------------------------------------- numbers in the text


_TEXT = Table(
    "text",
    "Numbers in the text (the paper has no table of its figures); those of patches that vote and of "
    "generated ones stand in the tables 'patches' and 'generated'",
    ("What",),
    ("AUC, image", "AUC, patch", "Parameters"),
    (
        Row("text-image", ("Mask R-CNN from COCO, per image, and per 256 x 256 patch",),
            {"AUC, image": Cell("0.93", measure=Measure("auc", "image")),
             "AUC, patch": Cell("0.73", measure=Measure("auc", "patch"))},
            replace(_recipe({}), fitted=True), True, _COST,
            note="by the preset cpu its weights are drawn at random"),
        Row("text-parameters", ("parameters of the Mask R-CNN: total",),
            {"Parameters": Cell("63,744,170", note="a size; ours has 62,972,135, the README accounts for the rest")}),
        Row("text-parameters-trainable", ("parameters of the Mask R-CNN: trainable",),
            {"Parameters": Cell("63,632,682", note="a size; ours has 62,972,135, the README accounts for the rest")}),
        Row("text-parameters-fixed", ("parameters of the Mask R-CNN: not trainable",),
            {"Parameters": Cell("111,488", note="a size; ours has 62,972,135, the README accounts for the rest")}),
    ),
)  # fmt: skip

# ------------------------------------------------------------------------------ ours: regions

_AREAS = {"AUC, image": _own("auc", "image"), "AUC, patch": _own("auc", "patch")}
_OWN_KINDS = "AUC, image, its kinds"
_FROC = {
    "R@1": "recall_at_1_fp_on_all",
    "mean R, 1/8 to 8": "mean_recall_0.125_8_fp_on_all",
    "R@1, malignant": "malignant_recall_at_1_fp_on_all",
}


def _regions(key: str, words: str, rule: str, **settings: str) -> Row:
    """Return a row of a detector of one sort of lesion, for which one rule says what a hit is."""
    froc = {name: _own(figure, "region", rule) for name, figure in _FROC.items()}
    cells = {**_AREAS, _OWN_KINDS: _own("auc_own_kinds", "image"), **froc}
    return Row(key, (words,), cells, _recipe(settings), cost=_COST)


_MASSES = '["mass", "architectural_distortion", "asymmetry"]'
# The paper's batch and rates, of as many views as text-image by the preset cpu: batches of 4, AdamW.
_RULE = {
    "regions.batch": "2", "regions.steps": "2000", "regions.optimizer": "sgd",
    "regions.learning_rate": "0.002", "regions.weight_decay": "0.0001", "regions.schedule": "plateau",
    "regions.validate_every": "200",
}  # fmt: skip
_REGIONS = Table(
    "regions",
    "Ours: Mask R-CNN on masses (with distortions and asymmetries) and on calcification clusters; "
    "recall of lesions, benign ones too, ranked by malignancy, and of malignant ones, benign ones "
    "ignored; an image is malignant by any lesion, and beside it by one of its kinds",
    ("Network",),
    ("AUC, image", _OWN_KINDS, "AUC, patch", *_FROC, "AUC, image, less text-image"),
    (
        _regions("regions-masses", "masses only", "centre_in_region", kinds=_MASSES),
        _regions("regions-clusters", "calcification clusters only", "cluster",
                 kinds='["calcification_cluster"]'),
        Row("regions-rule", ("all kinds, batches of 2, SGD, 0.002, on a plateau ten times less",),
            {**_AREAS, "AUC, image, less text-image": _less("text-image")},
            replace(_recipe(_RULE, against=("text-image",)), presets=("cpu",)), cost=_COST,
            note="beside the preset cpu's larger batches; the preset paper trains so in any case"),
    ),
)  # fmt: skip

_PUBLISHED = ("paper", "gpu")  # there are no weights of the small network
_START = Table(
    "start",
    "Ours: where the weights of Mask R-CNN begin; text-image is from COCO, by the preset cpu from none",
    ("Network",),
    ("AUC, image", "AUC, patch"),
    tuple(
        Row(f"start-{init}", (words,), _AREAS, replace(_recipe({"init": init}), presets=_PUBLISHED), cost=_COST)
        for init, words in (("none", "weights drawn at random"), ("imagenet", "ImageNet's backbone"))
    ),
)  # fmt: skip

# ------------------------------------------------------------------------------ ours: patches

_CURVE = {
    "Accuracy, patch": _own("balanced_accuracy", "patch", percent=True),
    "AUC, patch": _own("auc", "patch"),
    "Accuracy, image": _own("balanced_accuracy", "image", percent=True),
    "AUC, image": _own("auc", "image"),
}


_POINT = "of four classes, about so many patches; whether of patches or images is not said"
_BEFORE, _NONE, _OF_PATCHES = (
    f"AUC, image, less {of}" for of in ("the row before", "shrunk-none", "patches-400k")
)


def _patches(key: str, number: int, stride: str, before: str = "", printed: str = "") -> Row:
    against = (before,) if before else ()
    recipe = _recipe({"trains": "votes", "patches": str(number), "stride": stride}, against=against)
    cells = {**_CURVE, **({_BEFORE: _less(before)} if before else {})}
    if printed:
        cells["Accuracy, patch"] = replace(cells["Accuracy, patch"], printed=printed, note=_POINT)
    return Row(
        key, (f"{number:,} patches, classified; images by the worst",), cells, recipe, cost=_COST
    )


def _shrunk(key: str, words: str, start: str = "", *against: str, **settings: str) -> Row:
    cells = {name: cell for name, cell in _CURVE.items() if "image" in name}
    cells |= {f"AUC, image, less {row}": _less(row) for row in against}
    recipe = _recipe({"trains": "shrunk", **settings}, start, against)
    return Row(key, (words,), cells, recipe, cost=_CHECK)


_PATCHES = Table(
    "patches",
    "Ours: the curve of which the text gives two points; every row draws as many patches, of so many "
    "different ones; accuracies (%) with classes counted alike; differences are paired",
    ("Training",),
    (*_CURVE, _BEFORE, _NONE, _OF_PATCHES),
    (
        _patches("patches-40k", 40_000, "0.125"),
        _patches("patches-200k", 200_000, "0.0625", "patches-40k", "45"),
        _patches("patches-400k", 400_000, "0.03125", "patches-200k", "65"),
        _patches("patches-1200k", 1_200_000, "0.03125", "patches-400k"),
        _shrunk("shrunk-none", "the image at 256 x 256, weights drawn at random", init="none"),
        _shrunk("shrunk", "the image at 256 x 256, from the weights of 400,000 patches",
                "patches-400k", "shrunk-none", "patches-400k"),
    ),
)  # fmt: skip

# ---------------------------------------------------------------------------- ours: generated

_GENERATED = {
    "Accuracy, classes alike": _own("balanced_accuracy", "patch", percent=True),
    "Accuracy, as windows come": _own("accuracy", "patch", percent=True),
    "AUC": _own("auc", "patch"),
}


def _check(key: str, words: str, start: str = "", **settings: str) -> Row:
    # At half a window's stride a lesion's classes would be turns of a few hundred windows.
    settings = {
        "trains": "check",
        "stride": "0.25",
        **({} if start else {"init": "none"}),
        **settings,
    }
    cells = dict(_GENERATED)
    if key == "gan-dcgan":
        come = "Accuracy, as windows come"
        cells[come] = replace(
            cells[come], printed="5", note="after 25 epochs; of which classes is not said"
        )
    recipe = replace(_recipe(settings, start), reads=False)  # figures are of windows
    return Row(key, (words,), cells, recipe, cost=_CHECK)


def _beside(name: str, words: str) -> tuple[Row, ...]:
    """Return a row of a classifier of real patches and a generator's, and two more trainings of it."""
    return tuple(
        _check(f"gan-{name}-added{_seeded(seed)}", f"4,000 real, and as many of {words} a batch"
               + _training(seed), f"gan-{name}", generator=name, generated_share="0.5", **_seed(seed))
        for seed in _SEEDS
    )  # fmt: skip


_SEEDS = (0, 1, 2)


def _seeded(seed: int) -> str:
    return f"-seed{seed}" if seed else ""


def _training(seed: int) -> str:
    return f", training {seed + 1}" if seed else ""


def _seed(seed: int) -> dict[str, str]:
    return {"seed": str(seed)} if seed else {}


_CHECKS = Table(
    "generated",
    "Ours: a classifier of three classes trained on real or on generated patches, validated on real "
    "ones (%)",
    ("Trained on",),
    tuple(_GENERATED),
    (
        *(_check(f"gan-real{_seeded(s)}", f"4,000 real patches{_training(s)}", **_seed(s))
          for s in _SEEDS),
        _check("gan-dcgan", "generated by the DCGAN (figure 1): 12,000 of 64 x 64, by the preset paper 60,000", generator="dcgan"),
        *_beside("dcgan", "the DCGAN's"),
        _check("gan-flow", "generated by a flow: as many", generator="flow"),
        *_beside("flow", "the flow's"),
    ),
)  # fmt: skip

# At the paper's own size, by the small classifier: what one large GPU has time for.
_FULL_SIZE = {
    "cut_from": "[1024, 1024]", "window": "256", "generated": "60000", "check.steps": "4690",
    "check.validate_every": "469",
}  # fmt: skip


def _full(key: str, words: str, hours: float = 0.2, **settings: str) -> Row:
    row = _check(f"full-{key}", words, **{**_FULL_SIZE, **settings})
    assert row.recipe is not None
    cost = Cost(hours, "estimated, one large GPU beside thirteen other rows")
    return replace(row, recipe=replace(row.recipe, presets=("cpu",)), cost=cost)


_FULL = Table(
    "full",
    "Ours: the same with patches of 256 x 256 of images of 1024 x 1024 and 60,000 drawn, as the paper "
    "has them; a small classifier that sees 60,000 in 5 epochs (%)",
    ("Trained on",),
    tuple(_GENERATED),
    (
        _full("real", "4,000 real patches"),
        _full("dcgan", "60,000 of the DCGAN (figure 1), 50 epochs", generator="dcgan"),
        _full("dcgan-1000", "60,000 of the DCGAN (figure 1), 1,000 epochs", 2.0, generator="dcgan",
              **{"dcgan.steps": "20840", "dcgan.validate_every": "1042"}),
        _full("flow", "60,000 of a flow, 50 epochs", generator="flow"),
    ),
)  # fmt: skip

STUDY = Study(
    "thatte2017",
    "Thatte, Gunapal, Landesman, Lam: Second Look: Cancer Detection in Mammograms using Public Data "
    "Sets, UC Berkeley School of Information, 2017",
    {
        "cbis_ddsm": "the paper names MIAS (322 images) and DDSM (10,239 images), its reference for the "
        "latter being CBIS-DDSM's page; four classes: no "
        "tumour, malignant, benign, benign without callback; patches of 256 x 256 pixels",
    },
    (
        "the paper gives neither its split nor its numbers of images in it, and does not say that "
        "patients are kept apart: ours is a seeded split of patients",
        "the abstract's AUCs are said to be of 'an entire image' and of 'each individual slice'; "
        "which class is positive is not said, here it is malignant",
        "a patch's and an image's AUC, and the accuracy over four classes, are not defined in the "
        "paper: the method's README says how they are here",
        "by the preset cpu networks are small (Mask R-CNN of 3.5 million numbers, classifiers of 2.8) and "
        "drawn at random, where the paper has ResNet101 from COCO; windows are 64 x 64 pixels of an "
        "image of 320 x 256, and for Mask R-CNN 128 x 128 of 640 x 512; 12,000 patches are generated, "
        "generators see theirs in 50 epochs, a check its 12,000 in 11; table full has the paper's windows and "
        "numbers",
        "intervals here are of patients drawn again; the paper gives none",
    ),
    (_TEXT, _REGIONS, _PATCHES, _CHECKS, _FULL, _START),
)
