"""Time bundles on this machine in one run, in turn, each in a process of its own; or compare two such runs.

    edgedepth bench BUNDLE BUNDLE --peer torch --out bench
    edgedepth bench --backend openvino --frames 100
    edgedepth bench compare before after --fail-if-slower 5%

Without BUNDLE all of the artefact store take part. --out gets run.json and samples.jsonl with every frame; a run that
was cut off goes on with the same command. compare takes two such folders; exit code 1 if something became slower.
"""

from __future__ import annotations

import argparse
import shlex
from pathlib import Path

from edgedepth.bench.comparing import Comparison, compare_runs, parse_limit
from edgedepth.bench.contenders import choose_contenders
from edgedepth.bench.kept import keep_timings
from edgedepth.bench.running import FRAMES, bench
from edgedepth.cli.arguments import add_device, add_weights
from edgedepth.cli.console import note, print_json, print_table, progress_bar
from edgedepth.cli.timing_arguments import add_timing, print_machine, print_notes
from edgedepth.core.errors import OptionError
from edgedepth.core.plain import to_plain
from edgedepth.core.runs import Quantiles, Run, read_run

__all__ = ["SUMMARY", "add_arguments", "print_bench", "run"]

SUMMARY = "time bundles side by side, or compare two such runs"
COMPARE = "compare"
_OUT = Path("bench")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument(
        "bundles",
        nargs="*",
        metavar="BUNDLE",
        help="bundles' folders (default: all of the store); or: compare BEFORE AFTER, two runs",
    )
    parser.add_argument("--backend", default="auto", help="without BUNDLE: those of onnx, openvino, trt or coreml only")
    parser.add_argument("--model", help="without BUNDLE: those of this model only")
    add_timing(parser, frames=FRAMES)
    add_device(parser)
    add_weights(parser, "with --peer torch: ")
    parser.add_argument("--out", type=Path, metavar="DIR", help=f"the run's folder (default: {_OUT})")
    parser.add_argument(
        "--save",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="keep each bundle's timing in it, where inspect shows it (default: yes)",
    )
    group = parser.add_argument_group("compare")
    group.add_argument(
        "--fail-if-slower", metavar="SHARE", help="exit code 1 if an entry is slower by more, beyond chance: 5%%"
    )
    group.add_argument("--cross-device", action="store_true", help="compare runs of different machines, too")


def run(args: argparse.Namespace) -> int:
    """Time or compare, and tell."""
    if args.bundles[:1] == [COMPARE]:
        return _compare(args)
    if args.fail_if_slower is not None or args.cross_device:
        flag = "--cross-device" if args.cross_device else "--fail-if-slower"
        raise OptionError(f"{flag} goes with compare", remedy="edgedepth bench compare BEFORE AFTER")
    contenders = choose_contenders(
        args.bundles,
        backend=args.backend,
        model=args.model,
        device=args.device,
        peers=args.peer,
        weights=args.weights,
    )
    out = args.out or _OUT
    command = shlex.join(["edgedepth", *args.words])
    try:
        with progress_bar() as progress:
            made = bench(contenders, out, frames=args.frames, warm_up=args.warm_up, command=command, progress=progress)
    except KeyboardInterrupt:
        note(f"the frames so far are kept in {out}; the same command goes on")
        raise
    if args.save:
        keep_timings(made.entries, note)
    if args.json:
        print_json(to_plain(made))
    else:
        print_bench(made)
        note(f"written: {out}; edgedepth bench compare {out} OTHER")
    failed = any(entry.status == "failed" for entry in made.entries)
    return 1 if failed or not any(entry.timing for entry in made.entries) else 0


def print_bench(made: Run) -> None:
    """The machine, a table of the entries, one of their steps, and what has to be known of them."""
    print_machine(made)
    timed = [(entry, entry.timing) for entry in made.entries if entry.timing]
    rows = [
        (
            entry.name,
            *_milliseconds(timing.frame),
            f"{timing.frames_per_second:.2f}",
            _or_none(timing.first_frame_ms, "{:.0f}"),
            _or_none(timing.load_ms, "{:.0f}"),
            _or_none(timing.peak_rss_bytes, "{:.0f}", 1e-6),
            _or_none(timing.peak_device_bytes, "{:.0f}", 1e-6),
            _or_none(timing.cpu_percent, "{:.0f}"),
            _or_none(timing.energy_j, "{:.2f}"),
            _or_none(timing.flops and timing.flops * timing.frames_per_second, "{:.0f}", 1e-9),
            _or_none(timing.ceiling_fraction, "{:.0f} %", 100),
        )
        for entry, timing in timed
    ]
    columns = ("entry", "p50 ms", "p90", "p99", "FPS", "first ms", "load ms", "peak MB", "GPU MB", "CPU %", "J")
    print_table((*columns, "GFLOP/s", "of ceiling"), rows)
    steps = [
        (entry.name, step, *_milliseconds(taken)) for entry, timing in timed for step, taken in timing.stages.items()
    ]
    if steps:
        print_table(("entry", "step", "p50 ms", "p90", "p99"), steps)
    for entry in made.entries:
        if entry.status in ("failed", "skipped"):
            print(f"{entry.status}: {entry.name}: {entry.reason}")
    print_notes(made.entries)


def _compare(args: argparse.Namespace) -> int:
    if len(args.bundles) != 3:
        raise OptionError(
            f"compare takes two runs; got {len(args.bundles) - 1}", remedy="edgedepth bench compare BEFORE AFTER"
        )
    limit = None if args.fail_if_slower is None else parse_limit(args.fail_if_slower)
    before, after = (read_run(Path(path)) for path in args.bundles[1:])
    comparison = compare_runs(before, after, cross_device=args.cross_device)
    failures = [] if limit is None else comparison.failures(limit)
    if args.json:
        print_json({"comparison": to_plain(comparison), "failures": failures})
    else:
        _print_comparison(comparison)
        for failure in failures:
            print(f"FAILED: {failure}")
    return 1 if failures else 0


def _print_comparison(comparison: Comparison) -> None:
    rows = [
        (
            one.name,
            f"{one.before_ms:.2f}",
            f"{one.after_ms:.2f}",
            f"{one.ratio:.3f}",
            f"{one.low:.3f} to {one.high:.3f}",
            "the same" if one.low <= 1 <= one.high else "slower" if one.ratio > 1 else "faster",
        )
        for one in comparison.ratios
    ]
    print_table(("entry", "before ms", "after ms", "ratio", "95 % interval", "so it is"), rows)
    for name, reason in comparison.missing.items():
        print(f"not timed again: {name}: {reason}")
    for name in comparison.new:
        print(f"new: {name}")
    for line in comparison.notes:
        print(f"differs: {line}")


def _milliseconds(taken: Quantiles) -> tuple[str, str, str]:
    return f"{taken.p50_ms:.2f}", f"{taken.p90_ms:.2f}", f"{taken.p99_ms:.2f}"


def _or_none(value: float | None, form: str, scale: float = 1.0) -> str:
    """What wasn't measured is a dash, and never zero."""
    return "–" if value is None else form.format(value * scale)
