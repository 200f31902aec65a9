"""The command line: run, report, list, train, doctor."""

from __future__ import annotations

import argparse
import contextlib
import importlib
import inspect
import os
import shutil
import sqlite3
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import semcom
from channels.errors import InputError, unknown

if TYPE_CHECKING:
    from channels.registry import Registry
    from semcom.sweep.progress import Step
    from semcom.sweep.results import Results

BAD_INPUT, FAILED, INTERRUPTED = 2, 1, 130  # exit codes


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code."""
    options = _parser().parse_args(arguments)
    try:
        code = options.command(options)
        sys.stdout.flush()
        return int(code or 0)
    except InputError as error:
        return _fail(str(error), BAD_INPUT)
    except BrokenPipeError:  # the reader (head, less) has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        return _fail("interrupted; finished points are kept, the same command continues", INTERRUPTED)
    except (OSError, sqlite3.Error) as error:
        place = f"{error.filename}: " if isinstance(error, OSError) and error.filename else ""
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        return _fail(f"{place}{reason}", BAD_INPUT)


def _fail(message: str, code: int) -> int:
    with contextlib.suppress(OSError):
        print(f"semcom: {message}", file=sys.stderr)
    return code


def _run(options: argparse.Namespace) -> int:
    """Compute, then show and write the report."""
    from semcom.interrupts import interruptible
    from semcom.scenario import Scenario
    from semcom.sweep.run import RunError, run, shown

    scenario = Scenario.load(options.scenario, options.set or ())
    out = Path(options.out or Path("runs") / scenario.name)
    if options.dry_run:
        from semcom.sweep.estimate import estimate

        print("\n".join(estimate(scenario, options.device).lines(options.workers)))
        return 0
    try:
        with interruptible() as check, shown(not options.quiet) as report:

            def step(state: Step) -> None:
                check()
                report(state)

            results = run(
                scenario,
                out,
                options.workers,
                progress=step,
                scheduler=options.scheduler,
                retry_failed=options.retry_failed,
                timeout=options.timeout,
                cache=not options.no_cache,
                device=options.device,
            )
    except RunError as error:
        return _fail(str(error), FAILED)
    failures = results.failures()
    try:
        if not options.no_report:
            _show(results, out)
    except InputError:
        if failures.empty:
            raise  # otherwise there may be nothing to show, and the failures say why
    print(out)
    if failures.empty:
        return 0
    first = failures.iloc[0]
    return _fail(
        f"{failures['points'].sum()} points failed, the first: {first['system']}: {first['error']}; "
        f"tracebacks: {out / 'run.log'}; to try again: --retry-failed",
        FAILED,
    )


def _sweep_cluster(options: argparse.Namespace) -> None:
    """Print the job script, or start a scheduler with its jobs and keep it until Ctrl-C."""
    from semcom.sweep.cluster import ClusterSpec

    spec = ClusterSpec.load(options.file)
    if options.write:
        print(spec.script())
        return
    with spec.open() as cluster:
        cluster.scale(spec.workers)
        print(f"{spec.workers} workers asked for; this runs until Ctrl-C. In another terminal:")
        print(f"  semcom run SCENARIO --scheduler {cluster.scheduler_address}", flush=True)
        with contextlib.suppress(KeyboardInterrupt):
            threading.Event().wait()


def _report(options: argparse.Namespace) -> None:
    """Draw the report of what is finished; with --follow, again whenever more is, until all is finished or failed."""
    from semcom.sweep.results import Results

    results, shown = Results.open(options.folder), 0
    while True:
        done, planned = results.progress()
        failures = results.failures()
        over = done + (0 if failures.empty else int(failures["points"].sum())) >= planned
        # reference rows, which are computed first, make no report yet
        ready = done > shown and bool(results.to_frame()["snr_db"].notna().any())
        if ready or not options.follow or over:
            if done < planned:
                print(f"{options.folder}: {done} of {planned} points are finished", file=sys.stderr)
            _show(results, Path(options.out or options.folder))
            shown = done
        if over or not options.follow:
            return
        time.sleep(options.every)


def _cost(options: argparse.Namespace) -> None:
    """Measure what the systems of a run cost, and keep it for its report."""
    from semcom.report.costs import HEAD, cost_lines, cost_rows
    from semcom.sweep.cost import measure

    costs = measure(
        options.folder, options.images, options.transmitter, options.receiver, device=options.device
    )
    rows = [list(HEAD), *cost_rows(costs)]
    widths = [max(len(row[i]) for row in rows) for i in range(len(HEAD))]
    for row in rows:
        print("  ".join(value.ljust(width) for value, width in zip(row, widths, strict=True)).rstrip())
    print("\n".join(cost_lines(costs)))
    print(costs.save(options.folder))


def _export(options: argparse.Namespace) -> None:
    """Write the results in the formats that are asked for."""
    from semcom.sweep.export import FORMATS

    asked = [name for name in FORMATS if getattr(options, name)]
    if not asked:
        raise InputError(f"export: give at least one of {', '.join(f'--{name}' for name in FORMATS)}")
    for name in asked:
        for path in FORMATS[name](options.folder, options.out):
            print(path)


def _merge(options: argparse.Namespace) -> None:
    """Join shards."""
    from semcom.sweep.merge import merge

    results = merge(options.folders, options.out)
    done, planned = results.progress()
    print(f"{options.out}: {done} of {planned} points")


def _show(results: Results, out: Path) -> None:
    from semcom import report

    terminal = sys.stdout.isatty()
    width = shutil.get_terminal_size().columns if terminal else 100
    print(report.terminal_table(results, width=width, colour=terminal))
    for path in report.write(results, out):
        print(path)


def _list(options: argparse.Namespace) -> None:
    """What there is, by kind."""
    kinds = _LISTS if options.what is None else {options.what: _LISTS[options.what]}
    for kind, listing in kinds.items():
        lines = listing()
        width = max((len(name) for name, _ in lines), default=0)
        print(f"{kind}:" if len(kinds) > 1 else f"{len(lines)} {kind}:")
        for name, summary in lines:
            first, *more = summary.split("\n")
            print(f"  {name:<{width}}  {first}".rstrip())
            for line in more:
                print(f"  {'':<{width}}  {line}")


def _registry(registry: Registry[Any]) -> list[tuple[str, str]]:
    """Name, first line of the docstring, and options of each entry."""
    given = {"system": 1, "task": 2}.get(registry.kind, 0)  # arguments that the program gives
    lines = []
    for name, entry in sorted(registry.items()):
        shown = [
            p.name if p.default is p.empty else f"{p.name}={p.default}"
            for p in list(entry.options.values())[given:]
            if p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)
        ]
        lines.append((name, entry.summary + (f"  [{', '.join(shown)}]" if shown else "")))
    return lines


def _systems() -> list[tuple[str, str]]:
    """By family: what it is, who published it, what goes over the air, who must know the question."""
    from semcom.systems import SYSTEMS

    lines = []
    for name, summary in sorted(_registry(SYSTEMS), key=lambda line: SYSTEMS[line[0]].facts["family"]):
        system, facts = SYSTEMS[name].make, SYSTEMS[name].facts
        asked = "the transmitter too" if getattr(system, "needs_query", False) else "the receiver alone"
        carries = getattr(system, "carries", "nothing")
        about = f"family {facts['family']}; recovers: {carries}; the question is known to {asked}"
        lines.append((name, "\n".join([summary, about, f"paper: {facts['paper']}", _over_the_air(facts)])))
    return lines


def _over_the_air(facts: dict[str, Any]) -> str:
    return f"over the air: {facts.get('sends', 'not said')}"


def _channels() -> list[tuple[str, str]]:
    """By family: flat first, then several antennas, then wideband."""
    from channels import CHANNELS

    lines = _registry(CHANNELS)
    families = list(dict.fromkeys(["flat", "erasure", "mimo", "massive", "ofdm", *_families(CHANNELS)]))
    lines.sort(key=lambda line: families.index(CHANNELS[line[0]].facts["family"]))
    return [(name, f"{CHANNELS[name].facts['family']}: {summary}") for name, summary in lines]


def _families(registry: Registry[Any]) -> list[str]:
    return [entry.facts["family"] for entry in registry.values()]


def _impairments() -> list[tuple[str, str]]:
    from channels import IMPAIRMENTS

    return [
        (name, f"{IMPAIRMENTS[name].facts['side']}: {summary}") for name, summary in _registry(IMPAIRMENTS)
    ]


def _codings() -> list[tuple[str, str]]:
    """Codes, and what else may stand under ``coding`` in a scenario's link."""
    from channels.fec import CODES

    return [
        *((name, entry.summary) for name, entry in CODES.items()),
        ("pusch", "5G NR uplink: transport blocks, DMRS and slots, over the channels of family ofdm."),
        ("ideal", "Capacity bound: a payload arrives if its realisation could carry it."),
        ("finite", "Finite block length: the normal approximation of Polyanskiy, Poor and Verdu."),
    ]


def _datasets() -> list[tuple[str, str]]:
    from semcom.data import DATASETS

    return _registry(DATASETS)


def _tasks() -> list[tuple[str, str]]:
    from semcom.tasks import TASKS

    return _registry(TASKS)


def _scenarios() -> list[tuple[str, str]]:
    from semcom.scenario import available

    return list(available().items())


def _vlms() -> list[tuple[str, str]]:
    return [
        ("embedded", "the pair that is shipped: CLIP and LLaVA classes, a few MB, trained on scenes"),
        ("FOLDER", "any local folder in the transformers format (safetensors)"),
        ("OWNER/NAME", "any CLIP, SigLIP, LLaVA or image-text-to-text model of the Hugging Face hub"),
    ]


def _recipes() -> list[tuple[str, str]]:
    from semcom.training import RECIPES

    return [(name, recipe.summary) for name, recipe in RECIPES.items()]


_LISTS: dict[str, Callable[[], list[tuple[str, str]]]] = {
    "systems": _systems,
    "channels": _channels,
    "impairments": _impairments,
    "codings": _codings,
    "scenarios": _scenarios,
    "datasets": _datasets,
    "vlms": _vlms,
    "tasks": _tasks,
    "recipes": _recipes,
}


def _train(options: argparse.Namespace) -> None:
    """Train a shipped model again."""
    from semcom.training import RECIPES

    if options.name not in RECIPES:
        raise unknown("recipe", options.name, RECIPES)
    given = {name: getattr(options, name) for name in ("device", "steps", "workers", "vlm")}
    given = {key: value for key, value in given.items() if value is not None}
    recipe = RECIPES[options.name]
    known = inspect.signature(importlib.import_module(recipe.module).train).parameters
    for key in given:
        if key not in known:
            raise InputError(f"train {options.name}: has no --{key}")
    print(recipe.run(options.out, **given))


def _doctor(options: argparse.Namespace) -> int:
    """Versions, devices, weights and a physics self-test."""
    from semcom.doctor import examine

    return 0 if examine(options.seconds) else FAILED


def _count(text: str) -> int:
    value = int(text) if text.isdigit() else 0
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 1 on")
    return value


def _duration(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is not a positive number")
    return value


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="semcom", description=semcom.__doc__.splitlines()[0])
    parser.add_argument("--version", action="version", version=f"semcom {semcom.__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")

    run = commands.add_parser("run", help="run a scenario (or continue it), then write its report")
    run.add_argument("scenario", help="name of a shipped scenario (semcom list scenarios), or a .yaml file")
    run.add_argument("--out", type=Path, help="folder of the results (default: runs/NAME)")
    run.add_argument(
        "--set",
        action="append",
        metavar="KEY=VALUE",
        help="change the scenario, e.g. sweep.snr_db=[0,10]; can be repeated",
    )
    run.add_argument(
        "--workers", type=_count, default=1, help="processes; numbers do not depend on it (default: 1)"
    )
    run.add_argument(
        "--dry-run", action="store_true", help="print points, encodes, time and disk; run nothing"
    )
    run.add_argument("--scheduler", metavar="ADDRESS", help="a Dask scheduler, whose workers compute instead")
    run.add_argument("--retry-failed", action="store_true", help="try again what failed in an earlier run")
    run.add_argument(
        "--timeout", type=_duration, metavar="SECONDS", help="limit for one chunk of images (default: none)"
    )
    run.add_argument(
        "--no-cache", action="store_true", help="encode everything anew ($SEMCOM_CACHE is not looked at)"
    )
    run.add_argument("--device", default="cpu", help="cpu, cuda, or auto (default: cpu, the reference)")
    run.add_argument("--no-report", action="store_true", help="compute only")
    run.add_argument("--quiet", action="store_true", help="no progress")
    run.set_defaults(command=_run)

    cluster = commands.add_parser("sweep-cluster", help="a Dask scheduler with workers on Slurm or PBS")
    cluster.add_argument("file", type=Path, help="YAML: system, workers, cores, memory, walltime, ...")
    cluster.add_argument("--write", action="store_true", help="print the job script and start nothing")
    cluster.set_defaults(command=_sweep_cluster)

    report = commands.add_parser("report", help="table, figures and HTML report of a finished or running run")
    report.add_argument("folder", type=Path, help="folder of the results")
    report.add_argument("--out", type=Path, help="where to write (default: the same folder)")
    report.add_argument(
        "--follow", action="store_true", help="draw it again as the run goes on, until its end"
    )
    report.add_argument(
        "--every", type=_duration, default=10.0, help="seconds between two looks with --follow (default: 10)"
    )
    report.set_defaults(command=_report)

    cost = commands.add_parser(
        "cost", help="measure what each system of a run costs; its report then shows it"
    )
    cost.add_argument("folder", type=Path, help="folder of the results")
    cost.add_argument("--images", type=_count, default=20, help="images that are measured (default: 20)")
    cost.add_argument("--transmitter", default="jetson-agx-orin", help="device profile, for the energy")
    cost.add_argument("--receiver", default="t4", help="device profile, for the energy")
    cost.add_argument("--device", default="cpu", help="what it is measured on: cpu or cuda (default: cpu)")
    cost.set_defaults(command=_cost)

    export = commands.add_parser("export", help="results as CSV, Parquet or NetCDF files")
    export.add_argument("folder", type=Path, help="folder of the results")
    export.add_argument("--csv", action="store_true", help="points.csv, samples.csv, ...: canonical")
    export.add_argument("--parquet", action="store_true", help="the same tables as Parquet files")
    export.add_argument("--netcdf", action="store_true", help="results.nc: the labelled cube")
    export.add_argument("--out", type=Path, help="where to write (default: the same folder)")
    export.set_defaults(command=_export)

    merge = commands.add_parser("merge", help="join shards of one sweep: other systems, links, SNRs, budgets")
    merge.add_argument("folders", type=Path, nargs="+", metavar="DIR", help="folders of results")
    merge.add_argument("--out", type=Path, required=True, help="folder of the joined results")
    merge.set_defaults(command=_merge)

    listing = commands.add_parser(
        "list", help="what there is: systems, channels, scenarios, data sets, VLMs, tasks"
    )
    listing.add_argument("what", nargs="?", choices=list(_LISTS), help="one kind only")
    listing.set_defaults(command=_list)

    train = commands.add_parser("train", help="train a shipped model again")
    train.add_argument("name", help="see `semcom list recipes`")
    train.add_argument("--out", type=Path, help="folder of the weights (default: those of the package)")
    train.add_argument("--device", help="torch device (default: cpu)")
    train.add_argument("--steps", type=_count, help="training steps (default: those of the shipped weights)")
    train.add_argument("--workers", type=_count, help="processes, where the recipe has them")
    train.add_argument("--vlm", help="the model that the weights shall fit (default: embedded)")
    train.set_defaults(command=_train)

    doctor = commands.add_parser("doctor", help="check the installation and the physics")
    doctor.add_argument("--seconds", type=_duration, default=30, help="time for the self-test (default: 30)")
    doctor.set_defaults(command=_doctor)
    return parser


if __name__ == "__main__":
    sys.exit(main())
