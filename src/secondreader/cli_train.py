"""The command line of training."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from secondreader.cli_words import Device, Quiet, Threads, Version, progress, resumable, say
from secondreader.domain import SecondReaderError

if TYPE_CHECKING:
    from secondreader.training import Training

__all__ = ["train"]


def train(
    name: Annotated[str, typer.Argument(metavar="METHOD", show_default=False)],
    out: Annotated[
        Path | None, typer.Option("-o", "--out", metavar="RUN", help="Run folder.")
    ] = None,
    data: Annotated[
        list[str] | None,
        typer.Option("--data", metavar="NAME=ROOT", help="A data set; may be repeated."),
    ] = None,
    split: Annotated[
        str, typer.Option("--split", metavar="NAME[:FOLD]", help="official is the set's own.")
    ] = "official",
    preset: Annotated[
        str | None, typer.Option("--preset", metavar="P", help="smoke, cpu, gpu, paper.")
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Of the method's configuration."),
    ] = None,
    init: Annotated[
        str | None,
        typer.Option("--init", help="none, imagenet, coco, a file, a model folder."),
    ] = None,
    seed: Annotated[int | None, typer.Option("--seed", min=0)] = None,
    choose: Annotated[
        list[str] | None,
        typer.Option("--choose", metavar="NAME.CHOICE=VALUE", help="A labelled choice of a set."),
    ] = None,
    devices: Annotated[int, typer.Option("--devices", min=1, help="On each node.")] = 1,
    nodes: Annotated[int, typer.Option("--nodes", min=1)] = 1,
    precision: Annotated[str, typer.Option("--precision", help="auto, bf16 or fp32.")] = "auto",
    workers: Annotated[
        int, typer.Option("--workers", min=0, help="Processes that prepare and load.")
    ] = 0,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what there is and what it costs; train nothing.")
    ] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Throw away what another training left there.")
    ] = False,
    device: Device = "auto",
    threads: Threads = None,
    quiet: Quiet = False,
    version: Version = False,
) -> None:
    """Train a method into RUN/model; the same command goes on where it was stopped."""
    from secondreader import pipeline, training
    from secondreader.learning.hardware import Hardware

    if not data:
        raise SecondReaderError("--data: got none, expected NAME=ROOT")
    if out is None and not dry_run:
        raise SecondReaderError("-o: got none, expected a run folder (or --dry-run)")
    hardware = Hardware(device, devices, nodes, precision, threads, workers, not quiet)
    planned = pipeline.plan_training(
        name,
        data,
        split=split,
        preset=preset,
        settings=settings or (),
        init=init,
        seed=seed,
        hardware=hardware,
        choices=choose or (),
    )
    if dry_run:
        typer.echo(_told(planned))
        return
    assert out is not None
    with resumable(), progress("images", quiet) as show:
        folder = training.run(planned, out, overwrite=overwrite, progress=show, on_note=say)
    if not quiet:
        for stage in training.stages(out):
            say(stage)
        say(f"model: {folder}; read with: secondreader read INPUT -o OUT --model {out}")


def _told(planned: Training) -> str:
    """Lay out the data by part and class, and what each stage costs."""
    from secondreader import training
    from secondreader.methods import method

    lines = []
    for part, numbers in training.counts(planned).items():
        told = ", ".join(f"{n} {what}" for what, n in numbers.items() if n)
        lines.append(f"{part}: {told or 'nothing'}")
    module: Any = method(planned.method)
    for cost in module.cost(planned.config, planned.hardware):
        hours = cost.step_seconds * cost.steps / 3600
        lines.append(
            f"stage {cost.stage}: at most {cost.steps} steps of {cost.step_seconds:.3g} s, "
            f"{hours:.2g} h; {cost.memory_gb:.2g} GB; {cost.parameters_m:.3g} M parameters"
        )
    return "\n".join(lines)
