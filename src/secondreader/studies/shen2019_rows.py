"""How rows of Shen 2019 are made: the paper's, with its networks, and the same with small ones."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from secondreader.studies.study import Cell, Cost, Measure, Recipe, Row, Table

__all__ = ["AUCS", "FIGURE2", "NAMES", "PAIRS", "PAPER", "SMALL", "Scale", "claim", "image_tables", "panel",
           "patch_key", "patch_table", "transfer_rows"]  # fmt: skip

_ALL = "[512-512-1024]x2"
_TOPS = {"resnet": f"{_ALL} + {_ALL}", "vgg": "256x1 + 128x1"}
NAMES = ("resnet-resnet", "resnet-vgg", "vgg-vgg", "vgg-resnet")
"""The paper's four best models: patch classifier and top."""
PAIRS = ("table2-512-1024x2", "table2-256-128", "table3-256-128", "table3-512-1024x2")
"""Their rows."""
FIGURE2 = ("table3-512x3", "table3-512x1")
"""The rows whose losses figure 2 shows: the one over-fits, the other does not."""
SIZES = (
    ("20", "79", "0.92 0.88 0.87 0.89"),
    ("30", "117", "0.93 0.94 0.93 0.90"),
    ("40", "159", "0.93 0.95 0.93 0.93"),
    ("50", "199", "0.94 0.95 0.94 0.93"),
    ("60", "239", "0.95 0.95 0.95 0.94"),
    ("72", "280", "0.95 0.95 0.95 0.95"),
)
"""Table 4: patients, images, AUC of the four models."""
AUCS = ("AUC", "A-AUC", "#Epochs", "AUC by breast", "AUC by exam")
_OURS = "ours: the paper stops at images"
_CHOICES = {"inbreast": ("inbreast.birads=shen",)}  # section 3.2.1: BI-RADS stands for biopsy


@dataclass(frozen=True, slots=True)
class Scale:
    """What rows are run with.

    Parameters
    ----------
    networks
        What stands for ``resnet`` and ``vgg``.
    preset
        Of the method.
    first, then
        Data set and split that is learnt, and the one that is transferred to.
    start
        What patch classifiers start from, where the paper has ImageNet's weights.
    mandatory
        Rows that must be run.
    patch, image, tune
        What they cost.
    """

    networks: Mapping[str, str]
    preset: str
    first: tuple[str, str]
    then: tuple[str, str]
    start: str
    mandatory: tuple[str, ...]
    patch: Cost
    image: Cost
    tune: Cost

    def recipe(self, settings: Mapping[str, str], start: str = "", *, then: bool = False,
               readers: tuple[str, ...] = ("plain",), fitted: bool = False) -> Recipe:  # fmt: skip
        """Return what is trained on the first data set, or on the one transferred to."""
        data, split = self.then if then else self.first
        return Recipe("patch_to_image", self.preset, settings, (data,), split, start=start,
                      readers=readers, fitted=fitted or self.preset == "paper",
                      choices=_CHOICES.get(data, ()))  # fmt: skip

    def same(self, row: str, against: str = "", *, then: bool = False,
             readers: tuple[str, ...] = ("plain",)) -> Recipe:  # fmt: skip
        """Return a recipe that measures another row's model, beside a rival or other ways to read."""
        data, split = self.then if then else self.first
        return Recipe("patch_to_image", data=(data,), split=split, start=row, against=against,
                      readers=readers, trains=False, choices=_CHOICES.get(data, ()))  # fmt: skip


PAPER = Scale(
    {"resnet": "resnet50", "vgg": "vgg16"}, "paper",
    ("cbis_ddsm", "patient-85-15"), ("inbreast", "patient-70-30"), "imagenet",
    ("table1-resnet50-imagenet-s1", "table1-resnet50-imagenet-s10", "table2-s1", "table2-512-2048x1",
     "table2-512-1024x2", "table2-256-128", "table2-heatmap-512-1024x2", "table2-fc-5x5", *FIGURE2,
     *(f"table4-{size}-resnet-vgg" for size, _, _ in SIZES), "text-two-step", "text-ensemble-ddsm"),
    Cost(1, "estimated, one data-centre GPU"), Cost(2, "estimated, after its patches"),
    Cost(0.5, "estimated, after its DDSM model"),
)  # fmt: skip
SMALL = Scale(
    {"resnet": "resnet_small", "vgg": "vgg_small_bn"}, "cpu",
    ("phantom", "official"), ("phantom-2", "official"), "none",
    ("table1-resnet_small-random-s1", "table1-resnet_small-random-s10",
     "table1-vgg_small_bn-random-s10", "table2-s1", "table2-512-2048x1", "table2-512-1024x2",
     "table2-256-128", "table2-heatmap-512-1024x2", "table2-fc-5x5", "table3-256-128",
     "table3-512-1024x2", *FIGURE2, "table4-0-resnet-vgg",
     *(f"table4-{size}-resnet-vgg" for size, _, _ in SIZES), "text-two-step", "ours-ensemble-chosen",
     "text-ensemble-ddsm"),
    Cost(0, "patches, by one thread; vgg twice as long", 8),
    Cost(0, "whole images after their patches, by one thread; vgg 30 to 60", 17),
    Cost(0, "fine-tuning, by one thread", 3),
)  # fmt: skip


_OFTEN = {"whole.validate_every": "50"}
"""Of figure 2's rows: so that losses are curves. Other rows are validated every 100 steps."""
_ONCE = {"tune.validate_every": "1000000"}
"""Validated at the last step only: no woman beyond those tuned on chooses a step."""
_S1_STEPS = {
    "last.steps": "360", "upper.steps": "1200", "every.steps": "22440", "scratch.steps": "24000",
    **{f"{stage}.validate_every": "120" for stage in ("last", "upper", "every", "scratch")},
}  # fmt: skip
"""200 epochs, section 3.1.2, of a tenth of S10's patches: 3, 10 and 187 of 120 steps, or one of 200."""


def patch_key(scale: Scale, network: str, pretrained: str, patches: str) -> str:
    """Return the name of a row of table 1."""
    start = "imagenet" if pretrained == "Y" else "random"
    return f"table1-{scale.networks[network]}-{start}-{patches.lower()}"


def _start(scale: Scale, network: str, patches: str) -> str:
    """Return the row whose patch classifier whole-image classifiers are made of."""
    return patch_key(scale, network, "Y" if scale.start == "imagenet" else "N", patches)


def _epochs(printed: str) -> Cell:
    return Cell(printed, note="the epoch of the best validation score; not a figure here")


def patch_table(scale: Scale, rows: tuple[tuple[str, str, str, str, str], ...]) -> Table:
    """Return table 1 of rows (network, pretrained, patch set, accuracy, epochs)."""
    made = []
    for network, pretrained, patches, accuracy, epochs in rows:
        settings = {
            "architecture": f"{scale.networks[network]} + 256x1 + 128x1",
            "init": "imagenet" if pretrained == "Y" else "none",
            "patch_set": patches.lower(),
            "trains": "patch",
        }
        if patches == "S1" and scale is PAPER:
            settings |= _S1_STEPS
        key = patch_key(scale, network, pretrained, patches)
        note = "" if accuracy else "ours: no such network in the paper"
        cells = {
            "Accuracy": Cell(accuracy, measure=Measure("accuracy", "patch"), note=note),
            "#Epochs": _epochs(epochs),
        }
        words = (scale.networks[network], pretrained, patches)
        made.append(Row(key, words, cells, scale.recipe(settings),
                        key in scale.mandatory, scale.patch))  # fmt: skip
    return Table(
        "table1",
        "Test accuracy of the patch classifiers using the Resnet50 and VGG16. #Epochs indicates the "
        "epoch when the best validation accuracy has been reached",
        ("Model", "Pretrained", "Patch set"),
        ("Accuracy", "#Epochs"),
        tuple(made),
    )


# ------------------------------------------------------------------------------ tables 2 and 3


def _image_row(
    scale: Scale, key: str, network: str, patches: str, words: tuple[str, ...], numbers: str,
    top: str,
) -> Row:  # fmt: skip
    """Return a row of table 2 or 3; `numbers` are AUC, A-AUC and epochs."""
    auc, augmented, epochs = numbers.split()
    settings = {"architecture": f"{scale.networks[network]} + {top}",
                "patch_set": patches.lower(), "trains": "top"}  # fmt: skip
    if scale is SMALL and key in FIGURE2:
        settings |= _OFTEN
    given = augmented != "NA"
    recipe = scale.recipe(
        settings, _start(scale, network, patches), readers=("plain", "flips") if given else ("plain",),
        fitted=key == PAIRS[1],  # one model with operating points and probabilities
    )  # fmt: skip
    cells = {
        "AUC": Cell(auc, measure=Measure("auc", "image")),
        "A-AUC": Cell(augmented, note="" if given else "not given",
                      measure=Measure("auc", "image", reader="flips") if given else None),
        "#Epochs": _epochs(epochs),
        "AUC by breast": Cell("", measure=Measure("auc", "breast"), note=_OURS),
        "AUC by exam": Cell("", measure=Measure("auc", "exam"), note=_OURS),
    }  # fmt: skip
    return Row(key, (patches, *words), cells, recipe, key in scale.mandatory, scale.image)


def image_tables(scale: Scale) -> tuple[Table, Table]:
    """Return tables 2 and 3."""

    def conv(key: str, one: str, two: str, numbers: str, patches: str = "S10") -> Row:
        network = "resnet" if key.startswith("table2") else "vgg"
        return _image_row(scale, key, network, patches, ("", one, two), numbers, f"{one} + {two}")

    def heat(key: str, one: str, two: str, numbers: str) -> Row:
        words = ("heatmap between patch classifier and top layers", one, two)
        return _image_row(scale, key, "resnet", "S10", words, numbers, f"heatmap + {one} + {two}")

    def full(key: str, pool: str, one: str, two: str, numbers: str) -> Row:
        network = "resnet" if key.startswith("table2") else "vgg"
        words = ("heatmap and FC layers on top, pool " + pool, one, two)
        pooled = f"pool{pool[0]} + " if pool != "1x1" else ""
        top = f"heatmap + {pooled}fc{one} + fc{two}"
        return _image_row(scale, key, network, "S10", words, numbers, top)

    first = "[512-512-2048]x1"
    table2 = (
        conv("table2-s1", first, first, "0.63 NA 35", patches="S1"),
        conv("table2-512-2048x1", first, first, "0.85 0.87 20"),
        conv("table2-512-1024x2", _ALL, _ALL, "0.85 0.87 34"),
        conv("table2-256x1-128x1", "[256-256-256]x1", "[128-128-128]x1", "0.84 0.85 25"),
        conv("table2-256x3-128x3", "[256-256-256]x3", "[128-128-128]x3", "0.83 0.84 17"),
        conv("table2-256-512x3", "[256-256-512]x3", "[128-128-256]x3", "0.84 0.87 48"),
        conv("table2-256-128", "256x1", "128x1", "0.87 0.88 36"),
        heat("table2-heatmap-512-1024x2", _ALL, _ALL, "0.80 NA 47"),
        heat("table2-heatmap-64-256x2", "[64-64-256]x2", "[128-128-512]x2", "0.81 NA 41"),
        full("table2-fc-5x5", "5x5", "64", "32", "0.73 NA 28"),
        full("table2-fc-2x2", "2x2", "512", "256", "0.72 NA 47"),
        full("table2-fc-1x1", "1x1", "2048", "1024", "0.65 NA 43"),
    )
    table3 = (
        conv("table3-512x3", "512x3", "512x3", "0.81 0.82 91"),
        conv("table3-512x1", "512x1", "512x1", "0.83 0.86 98"),
        conv("table3-256x3-128x3", "256x3", "128x3", "0.83 0.85 51"),
        conv("table3-256-128", "256x1", "128x1", "0.85 0.86 61"),
        conv("table3-128-64", "128x1", "64x1", "0.84 0.85 142"),
        conv("table3-512-1024x2", _ALL, _ALL, "0.85 0.88 165"),
        full("table3-fc-5x5", "5x5", "64", "32", "0.71 NA 26"),
        full("table3-fc-2x2", "2x2", "512", "256", "0.68 NA 27"),
        full("table3-fc-1x1", "1x1", "2048", "1024", "0.69 NA 50"),
    )
    columns = ("Patch set", "Top", "Block1 or FC1", "Block2 or FC2")
    words = (
        "Per-image test AUC scores of the whole image classifiers using the {} as patch classifiers. "
        "#Epochs indicates the epoch when the best validation score has been reached"
    )
    return (
        Table("table2", words.format("Resnet50"), columns, AUCS, table2),
        Table("table3", words.format("VGG16"), columns, AUCS, table3),
    )


# ------------------------------------------------------------------------------------- table 4


def transfer_rows(scale: Scale) -> tuple[Row, ...]:
    """Return table 4: one row for each size and model."""
    return tuple(
        _tuned(scale, patients, images, name, start, auc)
        for patients, images, aucs in SIZES
        for name, start, auc in zip(NAMES, PAIRS, aucs.split(), strict=True)
    )


def _tuned(scale: Scale, patients: str, images: str, name: str, start: str, auc: str) -> Row:
    network, top = name.split("-")
    settings = {"trains": "tune", "architecture": f"{scale.networks[network]} + {_TOPS[top]}"}
    if scale is SMALL:
        settings |= _ONCE
    words = patients
    if patients == "72":
        words = "All" if scale is SMALL else "72 (All)"
    else:
        settings["patients"] = patients
    key = f"table4-{patients}-{name}"
    # Validation and calibration women are taken from the paper's 72, which leaves 52.
    note = "here of the 52 women that are left to train on" if int(patients) > 52 else ""
    return Row(
        key,
        (words, images, name),
        {"AUC": Cell(auc, measure=Measure("auc", "image"))},
        scale.recipe(settings, start, then=True),
        mandatory=key in scale.mandatory,
        cost=scale.tune,
        note=note if scale is PAPER else "",
    )


# --------------------------------------------------------------------- panels and comparisons


def panel(
    scale: Scale, key: str, words: tuple[str, ...], members: tuple[str, ...], numbers: str = "",
    *, then: bool = False, most: int | None = None, note: str = "",
) -> Row:  # fmt: skip
    """Return a row of a panel with flips; `numbers` are AUC, sensitivity and specificity in per cent."""
    data, split = scale.then if then else scale.first
    auc, sensitivity, specificity = numbers.split() if numbers else ("", "86.1", "80.1")
    rates = (float(sensitivity) / 100, float(specificity) / 100)
    ours = "" if numbers else "ours: the paper chose its four by its test tables"
    cells = {
        "AUC": Cell(auc, measure=Measure("auc", "image", reader="flips"), note=ours),
        "Sensitivity": Cell(
            sensitivity if numbers else "", True,
            Measure(f"sensitivity_at_specificity_{rates[1]:g}", "image", reader="flips"),
            note=ours or f"at the specificity of {specificity} % that the paper gives with it",
        ),
        "Specificity": Cell(
            specificity if numbers else "", True,
            Measure(f"specificity_at_sensitivity_{rates[0]:g}", "image", reader="flips"),
            note=ours or f"at the sensitivity of {sensitivity} % that the paper gives with it",
        ),
    }  # fmt: skip
    settings = {"flips": "true"} | ({"most": str(most)} if most else {})
    recipe = Recipe("panel", "", settings, (data,), split, members=members, readers=("flips",),
                    rates=rates, fitted=scale is PAPER, choices=_CHOICES.get(data, ()))  # fmt: skip
    rule = (
        f"two points of one curve: sensitivity at a specificity of {specificity} %, specificity at a "
        f"sensitivity of {sensitivity} %, the paper's"
    )
    return Row(key, words, cells, recipe, key in scale.mandatory,
               Cost(0, f"after its {len(members)} models"), f"{rule}; {note}" if note else rule)  # fmt: skip


def claim(key: str, words: str, paper: str, recipe: Recipe, *, mandatory: bool = True,
          measure: Measure | None = None) -> Row:  # fmt: skip
    """Return a row of a claim of the paper: a paired difference that lies above 0."""
    measure = measure or Measure("auc", "image", minus="rival")
    cells = {"Difference in AUC": Cell(paper, measure=measure, above=0.0)}
    return Row(key, (words,), cells, recipe, mandatory, Cost(0, "the models of two rows"))
