"""Thatte et al. 2017: "Second Look", Mask R-CNN and classified patches on public data."""

from __future__ import annotations

from secondreader.studies.study import Cell, Cost, Measure, Recipe, Row, Study, Table

__all__ = ["STUDY"]

_COST = Cost(8, "estimated, one data-centre GPU")
_DATA = ("cbis_ddsm",)
_SPLIT = "seeded"


def _mask_rcnn(key: str, level: str, words: str, auc: str) -> Row:
    recipe = Recipe("second_look", "paper", {}, _DATA, _SPLIT)
    cells = {"AUC": Cell(auc, measure=Measure("auc", level))}
    return Row(key, (words,), cells, recipe, level == "image", _COST)


def _patches(key: str, number: str, accuracy: str) -> Row:
    recipe = Recipe(
        "second_look",
        "paper",
        {"trains": "votes", "init": "imagenet", "patches": number},
        _DATA,
        _SPLIT,
    )
    cells = {"Accuracy": Cell(accuracy, True, Measure("accuracy_of_4", "patch"))}
    return Row(key, (f"four classes, about {int(number):,} patches",), cells, recipe, cost=_COST)


_TEXT = Table(
    "text",
    "Numbers in the text (the paper has no table of its figures)",
    ("What",),
    ("AUC", "Accuracy", "Parameters"),
    (
        _mask_rcnn("text-image", "image", "Mask R-CNN from COCO, per image", "0.93"),
        _mask_rcnn("text-patch", "patch", "Mask R-CNN from COCO, per 256 x 256 patch", "0.73"),
        _patches("text-patches-200k", "200000", "45"),
        _patches("text-patches-400k", "400000", "65"),
        Row("text-gan", ("trained on 60,000 patches of a GAN, validated on real ones, 25 epochs",),
            {"Accuracy": Cell("5", True, note="a failure the paper reports; it is not run here")}),
        Row("text-parameters", ("parameters of the Mask R-CNN: total",),
            {"Parameters": Cell("63,744,170", note="a size, not a figure")}),
        Row("text-parameters-trainable", ("parameters of the Mask R-CNN: trainable",),
            {"Parameters": Cell("63,632,682", note="a size, not a figure")}),
        Row("text-parameters-fixed", ("parameters of the Mask R-CNN: not trainable",),
            {"Parameters": Cell("111,488", note="a size, not a figure")}),
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
        "intervals here are of patients drawn again; the paper gives none",
    ),
    (_TEXT,),
)
