"""Shen et al. 2019: from patch classifiers to whole-image classifiers (the arXiv version's numbers)."""

from __future__ import annotations

from dataclasses import replace

from secondreader.studies.shen2019_rows import (
    AUCS,
    NAMES,
    PAIRS,
    PAPER,
    claim,
    image_tables,
    panel,
    patch_key,
    patch_table,
    transfer_rows,
)
from secondreader.studies.study import Cell, Cost, Measure, Recipe, Row, Study, Table

__all__ = ["INTERVALS", "PAPER_WORDS", "STUDY"]

INTERVALS = (
    "intervals here are of women drawn again, not of trainings: one training of one seed stands on each "
    "side of a difference; the paper gives no interval"
)

_TABLE1 = patch_table(
    PAPER,
    (
        ("resnet", "N", "S1", "0.97", "198"),
        ("resnet", "Y", "S1", "0.99", "99"),
        ("resnet", "N", "S10", "0.63", "24"),
        ("resnet", "Y", "S10", "0.89", "39"),
        ("vgg", "Y", "S10", "0.84", "25"),
    ),
)
_TABLE2, _TABLE3 = image_tables(PAPER)
_TABLE4 = Table(
    "table4",
    "Transfer learning efficiency with different training set sizes. Shown are per-image validation "
    "AUCs. One row here is one number of the paper's: size by model",
    ("#Patients", "#Images", "Model"),
    ("AUC",),
    transfer_rows(PAPER),
)

# --------------------------------------------------------------------------- numbers in the text

_S10 = patch_key(PAPER, "resnet", "Y", "S10")
_FOREST = PAPER.recipe({"architecture": "resnet50 + 256x1 + 128x1", "trains": "forest"}, _S10)
_TUNED = tuple(f"table4-72-{name}" for name in NAMES)

_TEXT = Table(
    "text",
    "Numbers in the text and the abstract",
    ("What", "Data"),
    ("AUC", "Sensitivity", "Specificity"),
    (
        panel(PAPER, "text-ensemble-ddsm", ("four-model averaging, augmented", "DDSM"), PAIRS,
              "0.91 86.1 80.1"),
        panel(PAPER, "text-ensemble-inbreast", ("four-model averaging", "INbreast"), _TUNED,
              "0.98 86.7 96.1", then=True,
              note="0.98 is a figure of validation data, on which the paper also chose; ours is of a "
                   "part that chooses nothing"),
        Row("text-two-step", ("random forest on regions of the binarised heatmap", "DDSM"),
            {"AUC": Cell("0.73", measure=Measure("auc", "image"))}, _FOREST,
            mandatory="text-two-step" in PAPER.mandatory, cost=PAPER.image),
        Row("text-best-single-ddsm", ("best single model, augmented (tables 2 and 3)", "DDSM"),
            {"AUC": Cell("0.88", note="table 2's 256x1, 128x1 and table 3's [512-512-1024]x2")}),
        Row("text-best-single-inbreast", ("best single model (table 4)", "INbreast"),
            {"AUC": Cell("0.95", note="all four models of table 4's last row")}),
    ),
)  # fmt: skip

# ------------------------------------------------------------------------------------------ ours

_NONE = "ours: the paper names it as a next step, and gives no number"


def _own_patches(key: str, words: str, **settings: str) -> Row:
    told = {"patch_set": "s10", "trains": "patch", "init": "imagenet", **settings}
    cell = Cell("", measure=Measure("accuracy", "patch"), note=_NONE)
    return Row(key, (words,), {"Accuracy": cell}, PAPER.recipe(told), cost=PAPER.patch)


def _own_images(key: str, words: str, recipe: Recipe, cost: Cost = PAPER.image) -> Row:
    measured = {
        "AUC": Measure("auc", "image"),
        "A-AUC": Measure("auc", "image", reader="flips"),
        "AUC by exam": Measure("auc", "exam"),
    }
    cells = {name: Cell("", measure=m, note=_NONE) for name, m in measured.items()}
    return Row(key, (words,), cells, recipe, cost=cost)


_OURS = Table(
    "ours",
    "Ours: what section 4 names as next",
    ("What",),
    ("Accuracy", "AUC", "A-AUC", "AUC by exam"),
    (
        _own_patches("ours-hard", "patches likely to be misclassified drawn up to five times as often",
                     architecture="resnet50 + 256x1 + 128x1", hard="4"),
        _own_patches("ours-vgg16-bn", "VGG16 with batch normalisation, patches",
                     architecture="vgg16_bn + 256x1 + 128x1"),
        _own_images("ours-vgg16-bn-256-128", "VGG16 with batch normalisation, whole images",
                    PAPER.recipe({"architecture": "vgg16_bn + 256x1 + 128x1", "trains": "top"},
                                 "ours-vgg16-bn", readers=("plain", "flips"))),
        _own_images("ours-native", "native resolution, patches of 512 pixels",
                    PAPER.recipe({"architecture": "resnet50 + 256x1 + 128x1", "patch": "512",
                                  "size": "[4096, 3328]", "enlarge": "false", "saving": "true"},
                                 readers=("plain", "flips")),
                    Cost(40, "estimated, one data-centre GPU")),
        panel(PAPER, "ours-ensemble-chosen", ("four models chosen on validation images, augmented",),
              ("table2-512-2048x1", *PAIRS), most=4),
    ),
)  # fmt: skip
_OURS = replace(_OURS, numbers=(*_OURS.numbers, "Sensitivity", "Specificity"))


def _official(row: Row, start: str) -> Row:
    """Return a row on the official split of CBIS-DDSM: other women are tested."""
    assert row.recipe is not None
    recipe = replace(row.recipe, split="official-clean", start=start)
    cells = {
        name: replace(cell, printed="", note="ours: the paper has its own 85-15 split")
        for name, cell in row.cells.items()
        if cell.measure is not None
    }
    words = (row.words[0] if not start else f"whole images, {' '.join(row.words[2:])}",)
    return Row(f"official-{row.key}", words, cells, recipe, cost=row.cost)


_OFFICIAL = Table(
    "official",
    "Ours: on the official split of CBIS-DDSM, whose figures are not comparable with the paper's: "
    "its test women were drawn apart, by difficulty",
    ("What",),
    ("Accuracy", *(name for name in AUCS if name != "#Epochs")),
    (
        _official(next(r for r in _TABLE1.rows if r.key == _S10), ""),
        _official(next(r for r in _TABLE2.rows if r.key == "table2-256-128"), f"official-{_S10}"),
    ),
)
_READ = ("plain", "flips")
"""As the rows of table 2 and 3 are read: nothing is read again for a claim."""
_CLAIMS = Table(
    "claims",
    "The paper's claims as paired differences",
    ("Claim",),
    ("Difference in AUC",),
    (
        claim("claim-s10", "S10 beats S1", "0.85 against 0.63",
              PAPER.same("table2-512-2048x1", "table2-s1", readers=_READ)),
        claim("claim-heatmap", "without the heatmap beats with it, [512-512-1024]x2 twice",
              "0.85 against 0.80",
              PAPER.same("table2-512-1024x2", "table2-heatmap-512-1024x2", readers=_READ)),
        claim("claim-fc", "all convolutional beats heatmap, max pooling and FC",
              "0.87 against 0.73", PAPER.same("table2-256-128", "table2-fc-5x5", readers=_READ)),
        claim("claim-two-step", "all convolutional beats the two-step forest", "0.87 against 0.73",
              PAPER.same("table2-256-128", "text-two-step", readers=_READ)),
        claim("claim-flips", "four flips add, 256x1 and 128x1", "0.88 against 0.87",
              PAPER.same("table2-256-128", readers=_READ),
              measure=Measure("auc", "image", reader="flips", minus="plain")),
        claim("claim-ensemble", "four models beat one, without its flips", "0.91 against 0.87",
              PAPER.same("table2-256-128", "text-ensemble-ddsm", readers=_READ),
              measure=Measure("auc", "image", reader="rival", minus="plain")),
        claim("claim-averaging", "four models with flips beat one with flips", "0.91 against 0.88",
              PAPER.same("table2-256-128", "text-ensemble-ddsm", readers=_READ),
              measure=Measure("auc", "image", reader="rival", minus="flips")),
    ),
)  # fmt: skip

PAPER_WORDS = (
    "Shen, Margolies, Rothstein, Fluder, McBride, Sieh: Deep Learning to Improve Breast Cancer Early "
    "Detection on Screening Mammography, arXiv 1708.09427; Scientific Reports 9, 2019"
)
STUDY = Study(
    "shen2019",
    PAPER_WORDS,
    {
        "cbis_ddsm": "2478 images of 1249 women; 85:15 at patients, a tenth of the training patients "
        "for validation, stratified by cancer; 1903 training, 199 validation and 376 test images; "
        "images of 1152 x 896 pixels",
        "inbreast": "410 images of 115 patients, BI-RADS 1 and 2 negative, 4, 5 and 6 positive; 12 "
        "patients and 23 images of BI-RADS 3 left out; 70:30 at patients: 280 images of 72 women for "
        "training, 107 of 31 for validation, on which the numbers are given",
    },
    (
        "the paper's patients of each part are not in the text: our splits are seeded",
        "the paper validates on a tenth of the training women; here 15 % of them validate and 15 % of the "
        "rest calibrate, so that fewer are trained on",
        "INbreast's numbers are of validation data in the paper; here of a part that chooses nothing, and "
        "the step is chosen on validation women beside those that are tuned on; where fewer women are left "
        "than a row of table 4 has, it takes all",
        "the heatmap has a place every 32 pixels, borders and all, and pools at its border are of fewer "
        "places; the paper does not say",
        INTERVALS,
    ),
    (_TABLE1, _TABLE2, _TABLE3, _TABLE4, _TEXT, _OURS, _OFFICIAL, _CLAIMS),
)
