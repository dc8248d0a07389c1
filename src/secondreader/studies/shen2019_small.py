"""Shen et al. 2019 with networks that two processor cores train in minutes, on phantoms, from film to digital."""

from __future__ import annotations

from dataclasses import replace

from secondreader.studies.shen2019 import INTERVALS, PAPER_WORDS
from secondreader.studies.shen2019_rows import (
    NAMES,
    PAIRS,
    SMALL,
    claim,
    image_tables,
    panel,
    patch_key,
    patch_table,
    transfer_rows,
)
from secondreader.studies.study import Cell, Cost, Measure, Recipe, Row, Study, Table

__all__ = ["STUDY"]

_BEST = "resnet_small + 256x1 + 128x1"
_S1, _S10 = (patch_key(SMALL, "resnet", "N", patches) for patches in ("S1", "S10"))
_NONE = "ours: not in the paper"


def _patches(key: str, network: str, words: str, **settings: str) -> Row:
    told = {"architecture": f"{network} + 256x1 + 128x1", "init": "none", "trains": "patch",
            "patch_set": "s10", **settings}  # fmt: skip
    cell = Cell("", measure=Measure("accuracy", "patch"), note=_NONE)
    return Row(key, (network, "N", words), {"Accuracy": cell}, SMALL.recipe(told), cost=SMALL.patch)


_TABLE1 = patch_table(
    SMALL,
    (
        ("resnet", "N", "S1", "0.97", "198"),
        ("resnet", "N", "S10", "0.63", "24"),
        ("vgg", "N", "S10", "", "–"),
    ),
)
_TABLE1 = replace(
    _TABLE1,
    rows=(
        *_TABLE1.rows,
        _patches("ours-vgg-small", "vgg_small", "S10"),
        replace(
            _patches("ours-hard", "resnet_small", "S10, those likely to be misclassified more often",
                     hard="4"),
            note="trained in two halves, each with a learning rate of its own that falls, where the plain "
                 "row's falls once over all steps: the two are put side by side, and nothing is claimed",
        ),
    ),
)  # fmt: skip


def _auc(recipe: Recipe, key: str, words: tuple[str, ...], cost: Cost) -> Row:
    cells = {"AUC": Cell("", measure=Measure("auc", "image"), note=_NONE)}
    return Row(key, words, cells, recipe, key in SMALL.mandatory, cost)


_TABLE4 = Table(
    "table4",
    "Transfer learning efficiency with different training set sizes, from the first data set to the "
    "second. One row here is one number of the paper's: size by model; all are the women of the "
    "second set's training part",
    ("#Patients", "#Images in the paper", "Model"),
    ("AUC",),
    (
        _auc(SMALL.same("table2-256-128", then=True), "table4-0-resnet-vgg",
             ("0 (as it was trained)", "", "resnet-vgg"), Cost(0, "another row's model")),
        *transfer_rows(SMALL),
        replace(
            _auc(SMALL.recipe({"architecture": _BEST}, then=True), "table4-scratch-resnet-vgg",
                 ("All, nothing transferred: patches, then images, of the second set", "", "resnet-vgg"),
                 Cost(0, "estimated, patches and whole images", 17)),
            note="its steps are chosen on validation women; those of the tuned rows are not",
        ),
    ),
)  # fmt: skip

_CANDIDATES = ("table2-512-2048x1", *PAIRS)
"""All convolutional, on both patch classifiers: the paper's four, and one more to choose from."""
_TEXT = Table(
    "text",
    "Numbers in the text and the abstract",
    ("What", "Data"),
    ("AUC", "Sensitivity", "Specificity"),
    (
        Row("text-two-step", ("random forest on regions of the binarised heatmap", "the first"),
            {"AUC": Cell("0.73", measure=Measure("auc", "image"))},
            SMALL.recipe({"architecture": _BEST, "trains": "forest"}, _S10),
            mandatory="text-two-step" in SMALL.mandatory, cost=Cost(0, "a forest", 3)),
        panel(SMALL, "ours-ensemble-chosen",
              ("four of five models chosen on validation images, augmented", "the first"),
              _CANDIDATES, most=4),
        panel(SMALL, "text-ensemble-ddsm", ("four-model averaging, augmented", "the first"), PAIRS,
              "0.91 86.1 80.1"),
        panel(SMALL, "text-ensemble-inbreast", ("four-model averaging", "the second"),
              tuple(f"table4-72-{name}" for name in NAMES), "0.98 86.7 96.1", then=True),
    ),
)  # fmt: skip
_READ = ("plain", "flips")
"""As the rows of table 2 and 3 are read: nothing is read again for a claim."""
_BEATS = (
    ("s10", "S10 beats S1", "0.85 against 0.63", "table2-512-2048x1", "table2-s1"),
    ("heatmap", "without the heatmap beats with it, [512-512-1024]x2 twice", "0.85 against 0.80",
     "table2-512-1024x2", "table2-heatmap-512-1024x2"),
    ("fc", "all convolutional beats heatmap, max pooling and FC", "0.87 against 0.73",
     "table2-256-128", "table2-fc-5x5"),
)  # fmt: skip
"""Name, words, the paper's numbers, a row and the one that it beats."""
_CLAIMS = Table(
    "claims",
    "The paper's claims as paired differences",
    ("Claim",),
    ("Difference in AUC",),
    (
        *(
            claim(f"claim-{name}", words, paper, SMALL.same(row, rival, readers=_READ))
            for name, words, paper, row, rival in _BEATS
        ),
        claim("claim-two-step", "all convolutional beats the two-step forest", "0.87 against 0.73",
              SMALL.same("table2-256-128", "text-two-step", readers=_READ)),
        claim("claim-flips", "four flips add, 256x1 and 128x1", "0.88 against 0.87",
              SMALL.same("table2-256-128", readers=_READ),
              measure=Measure("auc", "image", reader="flips", minus="plain")),
        claim("claim-ensemble", "four models beat one, without its flips", "0.91 against 0.87",
              SMALL.same("table2-256-128", "ours-ensemble-chosen", readers=_READ),
              measure=Measure("auc", "image", reader="rival", minus="plain")),
        claim("claim-averaging", "four models with flips beat one with flips", "0.91 against 0.88",
              SMALL.same("table2-256-128", "ours-ensemble-chosen", readers=_READ),
              measure=Measure("auc", "image", reader="rival", minus="flips")),
        claim("claim-transfer", "tuned on all women of the second set beats as it was trained",
              "the paper tunes all", SMALL.same("table4-72-resnet-vgg", "table2-256-128", then=True)),
        claim("claim-few", "tuned on all women beats tuned on 20", "0.95 against 0.88",
              SMALL.same("table4-72-resnet-vgg", "table4-20-resnet-vgg", then=True)),
        claim("claim-start", "transferred beats nothing transferred", "no number",
              SMALL.same("table4-72-resnet-vgg", "table4-scratch-resnet-vgg", then=True),
              mandatory=False),
    ),
)  # fmt: skip


def _of(seed: int, row: Row) -> Row:
    """Return a row trained again from another seed, from patches of that seed."""
    recipe = row.recipe
    assert recipe is not None
    start = f"seed-{seed}-{recipe.start}" if recipe.start else ""
    recipe = replace(
        recipe, settings={**recipe.settings, "seed": str(seed)}, start=start, readers=("plain",),
        fitted=False,
    )  # fmt: skip
    cells = {
        name: replace(cell, printed="", note=_NONE)
        for name, cell in row.cells.items()
        if name in ("Accuracy", "AUC")
    }
    words = (str(seed), f"{row.key}: {' '.join(word for word in row.words if word)}")
    return Row(f"seed-{seed}-{row.key}", words, cells, recipe, cost=row.cost)


def _beats(seed: int, name: str, words: str, row: str, rival: str) -> Row:
    recipe = SMALL.same(f"seed-{seed}-{row}", f"seed-{seed}-{rival}")
    told = claim(f"claim-{name}-seed-{seed}", words, "", recipe, mandatory=False)
    return replace(told, words=(str(seed), words))


_TABLES = (_TABLE1, *image_tables(SMALL))
_TRAINED = [row for table in _TABLES for row in table.rows]
_PAIRED = [key for *_, row, rival in _BEATS for key in (row, rival)]
_SEEDS = Table(
    "seeds",
    "Ours: what is claimed of S10, of the heatmap and of fully connected layers, from other seeds",
    ("Seed", "What"),
    ("Accuracy", "AUC", "Difference in AUC"),
    tuple(
        row
        for seed in (1, 2)
        for row in (
            *(_of(seed, row) for row in _TRAINED if row.key in (_S1, _S10, *_PAIRED)),
            *(_beats(seed, name, words, row, rival) for name, words, _, row, rival in _BEATS),
        )
    ),
)

STUDY = Study(
    "shen2019-small",
    PAPER_WORDS,
    {
        "phantom": "the first --data phantom=SET is learnt: film, say",
        "phantom-2": "the second --data phantom=SET is transferred to: digital, say",
    },
    (
        "run on phantoms, not on the paper's data: its numbers are no test of ours",
        "the networks are small, resnet_small for Resnet50 and vgg_small_bn for VGG16, and start from "
        "random weights; images are 576 x 448, patches 128; the tops are the paper's",
        "one schedule for all: patches 3200 steps of 32 at 1e-3, so that S1 sees its patches ten times as often as "
        "S10; whole images 100 steps of the top at 1e-3, then 1200 of 8 images at 3e-4 (the paper: 1e-4, then "
        "1e-5, of 2); tuning 200 of 8 at 1e-4, so that 20 women are seen 20 times and 100 women 4 times; "
        "the forest splits from 60 images on, 300 of the paper's 1,903",
        "both data sets may be one named set through two systems: then the women of a part are the same, "
        "those of the test part are learnt from in neither, and transfer has it easier than the paper's",
        "the heatmap of 18 x 14 places is pooled to 4 x 3, the last pools of fewer places; the paper's 1152 x "
        "896 has 36 x 28, which are 8 x 6: a pool of 5 x 5 is a larger part of the breast here",
        "table 4's tuning goes to its last step, as no other woman is to choose one; the rest is chosen on "
        "validation women; where a set has fewer women than a row of table 4, the row takes all; All are here the 100 women and 400 "
        "images of the training part of bench-1-small",
        "figure 2's two rows are validated every 50 steps, the others every 100: more steps to choose from",
        INTERVALS + "; table seeds trains some again, when asked for",
    ),
    (*_TABLES, _TABLE4, _TEXT, _CLAIMS, _SEEDS),
    elsewhere=True,
)
