"""Compare a bundle with the eager fp32 reference, stage by stage and end to end, on real pictures.

    edgedepth verify BUNDLE --images DIR
    edgedepth verify BUNDLE --data synthetic:20
    edgedepth verify BUNDLE --against OTHER --images DIR
    edgedepth verify BUNDLE --images DIR --max-absrel 0.01 --out run

Exit code 1 when a figure is out of its tolerance. The reference needs torch (the `export` extra) and the weights that
the bundle was made from; without them the reference's outputs that the bundle has stored are compared with, and the
report says so. The report is kept in the bundle, unless --no-save.
"""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from edgedepth.calibration.stored_set import open_calibration_set
from edgedepth.cli.arguments import add_device, add_weights
from edgedepth.cli.console import error_facts, note, print_json, progress_bar
from edgedepth.cli.parity_table import print_report
from edgedepth.core.bundle import Bundle, open_bundle
from edgedepth.core.errors import (
    DeviceError,
    EdgeDepthError,
    EngineError,
    MissingExtraError,
    OptionError,
    UnsupportedError,
)
from edgedepth.core.pack import Pack, is_pack, open_pack
from edgedepth.core.signing import trusted_key_of_environment
from edgedepth.datasets import LAYOUTS, open_dataset
from edgedepth.picture_sources import from_calibration, from_dataset, from_photos, settings_for
from edgedepth.sample_photos import sample_photo_paths
from edgedepth.verify.evaluation import EvalSettings
from edgedepth.verify.parity import Compared, ParityReport
from edgedepth.verify.pictures import PictureSource
from edgedepth.verify_run import DEFAULT_PICTURES, writing_run
from edgedepth.verifying import verify_bundle

__all__ = ["SUMMARY", "add_arguments", "add_pictures", "chosen_pictures", "print_report", "run"]

SUMMARY = "compare a bundle with the PyTorch reference"

_LIMITS = {
    "--max-absrel": ("abs_rel", "mean relative depth error of the worst picture"),
    "--max-rel": ("max_rel", "relative error of the worst pixel, on inverse depth"),
    "--max-fov-deg": ("fov_deg", "degrees between the fields of view"),
    "--max-scale-error": ("depth_scale", "distance of the least-squares depth scale from 1"),
    "--max-lost-structure": ("lost_structure", "1 - correlation of the shapes in the worst of 64 cells"),
    "--min-boundary-f1": ("boundary_f1", "share of the reference's own edges"),
    "--max-stage-rel": ("stage_max_rel", "largest error of a stage over its largest value"),
    "--max-stage-mean-rel": ("stage_mean_rel", "mean error of a stage over its mean size"),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("bundle", type=Path, help="a bundle's folder, or a pack's")
    add_pictures(parser)
    parser.add_argument("--against", type=Path, metavar="BUNDLE", help="compare with this bundle; needs no torch")
    add_weights(parser)
    add_device(parser)
    group = parser.add_argument_group("limits of your own, instead of the precision's (the report says so)")
    for flag, (name, what) in _LIMITS.items():
        group.add_argument(flag, type=float, dest=f"limit_{name}", metavar="X", help=what)
    parser.add_argument(
        "--key",
        metavar="FILE",
        help="a minisign public key: refuse a bundle that it didn't sign (default: EDGEDEPTH_TRUSTED_KEY's)",
    )
    parser.add_argument(
        "--out", type=Path, metavar="DIR", help="write a run for edgedepth report: figures and pictures"
    )
    parser.add_argument(
        "--pictures", type=int, default=DEFAULT_PICTURES, metavar="N", help="so many in --out, the worst (%(default)s)"
    )
    parser.add_argument(
        "--save",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="keep the report in the bundle, where inspect shows it (default: yes)",
    )


def add_pictures(parser: argparse.ArgumentParser) -> None:
    """What is compared on: --images, --data or --calib, and --limit."""
    chosen = parser.add_mutually_exclusive_group()
    chosen.add_argument(
        "--images",
        nargs="+",
        type=Path,
        metavar="DIR",
        help="folders or files, two pictures at least (default: scikit-image's sample photographs)",
    )
    chosen.add_argument(
        "--data",
        metavar="DATASET",
        help="a data set's folder, or synthetic:N: both models are held against the truth as well",
    )
    chosen.add_argument("--calib", type=Path, metavar="SET", help="a calibration set's frames")
    layouts = ", ".join(layout.name for layout in LAYOUTS)
    parser.add_argument("--layout", help=f"of --data: {layouts} (default: told by what is in it)")
    parser.add_argument("--limit", type=int, metavar="N", help="N pictures, spread evenly")


def chosen_pictures(args: argparse.Namespace) -> tuple[list[PictureSource], EvalSettings | None]:
    """What add_pictures' arguments name, and how its truth is scored.

    Raises:
        OptionError: --layout without --data, or a limit below 1.
        PhotoError, DataSetError, CalibrationError, MissingExtraError: as their names say.
    """
    if args.layout is not None and args.data is None:
        raise OptionError("--layout says how a data set lies in its folder, and there is none", remedy="--data DIR")
    if args.data is not None:
        data_set = open_dataset(args.data, layout=args.layout)
        return from_dataset(data_set, args.limit), settings_for(data_set)
    if args.calib is not None:
        return from_calibration(open_calibration_set(args.calib), args.limit), None
    return from_photos(args.images or sample_photo_paths(), args.limit), None


def run(args: argparse.Namespace) -> int:
    """Verify and tell."""
    key = args.key or trusted_key_of_environment()
    if is_pack(args.bundle):
        return _verify_pack(open_pack(args.bundle, trusted_key=key), args)
    report = _verify(open_bundle(args.bundle, trusted_key=key), args, args.out)
    if args.json:
        print_json(report.to_dict())
    else:
        print_report(report)
    return 0 if report.passed else 1


def _verify_pack(pack: Pack, args: argparse.Namespace) -> int:
    """Each bundle that can be run or evaluated here; of the others it is told why they can't."""
    reports: dict[str, ParityReport] = {}
    left: dict[str, EdgeDepthError] = {}
    for name in pack.manifests:
        try:
            reports[name] = _verify(pack.bundle(name), args, args.out and args.out / name)
        except (DeviceError, EngineError, MissingExtraError, UnsupportedError) as error:
            left[name] = error
            note(f"{name} is not verified: {error}")
            continue
        if not args.json:
            print(f"{name}:")
            print_report(reports[name])
    if not reports:
        raise next(iter(left.values()))
    if args.json:
        verified = {name: report.to_dict() for name, report in reports.items()}
        print_json({"targets": verified, "not_verified": {name: error_facts(error) for name, error in left.items()}})
    return 0 if all(report.passed for report in reports.values()) else 1


def _verify(bundle: Bundle, args: argparse.Namespace, out: Path | None) -> ParityReport:
    pictures, settings = chosen_pictures(args)
    limits = {name: value for name, _ in _LIMITS.values() if (value := getattr(args, f"limit_{name}")) is not None}
    with ExitStack() as stack:
        kept = None
        if out is not None:
            command = shlex.join(["edgedepth", *args.words])
            kept = stack.enter_context(writing_run(out, bundle, command=command, pictures=args.pictures))
        seen: Callable[[Compared], None] = kept.see if kept else lambda _: None
        with progress_bar() as progress:
            report = verify_bundle(
                bundle,
                pictures,
                weights=args.weights,
                against=args.against,
                device=args.device,
                limits=limits,
                settings=settings,
                save=args.save,
                seen=seen,
                progress=progress,
                announce=note,
            )
        if kept:
            kept.finish(report, device=args.device)
    if out is not None:
        note(f"written: {out}; edgedepth report {out} makes a page of it")
    return report
