"""Show what a bundle is, after checking that every file is what its manifest says.

edgedepth inspect BUNDLE
edgedepth inspect BUNDLE --json
edgedepth inspect BUNDLE --swift > DepthModel.swift
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any, get_args

from edgedepth.cli.console import print_json, print_table
from edgedepth.cli.pack_command import pack_facts, print_pack
from edgedepth.core.bundle import Bundle, open_bundle
from edgedepth.core.engine import EngineFacts
from edgedepth.core.pack import Pack, is_pack, open_pack
from edgedepth.core.plain import to_plain
from edgedepth.core.reports import ReportKind, StoredReport, read_report
from edgedepth.core.spec import TensorSpec
from edgedepth.proof import parity_line
from edgedepth.report.swift import swift_constants

__all__ = ["SUMMARY", "add_arguments", "bundle_facts", "print_bundle", "run"]

SUMMARY = "show what a bundle is"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("bundle", type=Path, help="a bundle's folder, or a pack's")
    parser.add_argument("--swift", action="store_true", help="print a Core ML bundle's constants as Swift source")


def run(args: argparse.Namespace) -> int:
    """Open, check, show."""
    if is_pack(args.bundle) and not args.swift:
        return _inspect_pack(open_pack(args.bundle), as_json=args.json)
    bundle = open_bundle(args.bundle)
    if args.swift:
        print(swift_constants(bundle.manifest), end="")
    elif args.json:
        print_json(bundle_facts(bundle))
    else:
        print_bundle(bundle)
    return 0


def _inspect_pack(pack: Pack, *, as_json: bool) -> int:
    for name in pack.manifests:
        pack.bundle(name)  # every file is what it was
    if as_json:
        print_json(pack_facts(pack))
    else:
        print_pack(pack)
    return 0


def bundle_facts(bundle: Bundle) -> dict[str, Any]:
    """The manifest as JSON, with the bundle's place and size."""
    reports = {kind: to_plain(read_report(bundle, kind)) for kind in get_args(ReportKind)}
    manifest = to_plain(bundle.manifest)
    return {"path": str(bundle.path), "bytes": bundle.size, "manifest": manifest, "reports": reports}


def print_bundle(bundle: Bundle) -> None:
    """The facts of a bundle, and a table of its stages."""
    manifest = bundle.manifest
    model = manifest.model
    batch = "any tile batch" if manifest.tile_batch is None else f"tile batch {manifest.tile_batch}"
    if manifest.layout == "single":
        batch = "all tiles at once"
    layout = f"layout {manifest.layout}" + (f", {batch}" if model.tiling or manifest.layout == "single" else "")
    facts = {
        "bundle": str(bundle.path),
        "model": f"{model.name}, {model.parameters:,} parameters" + ("" if model.trained else ", UNTRAINED"),
        "target": f"{manifest.target}, {manifest.precision}, {layout}",
        "weights": f"{model.source} (sha256 {model.weights_sha256[:12]}…)",
        "licence": model.licence,
        "size": f"{bundle.size / 1e6:,.1f} MB in {len(manifest.files)} files, all as the manifest says",
        "made": f"{manifest.created_utc} with " + ", ".join(f"{k} {v}" for k, v in manifest.toolchain.items()),
        "parity": parity_line(bundle),
    }
    if (latency := read_report(bundle, "latency")) is not None:
        facts["latency"] = _latency_line(latency)
    if manifest.parity is not None:
        facts["INT8"] = ", ".join(f"{key} {value}" for key, value in manifest.parity.items())
    if manifest.speed is not None:
        facts["speed"] = ", ".join(f"{key} {value:g}" for key, value in manifest.speed.items())
    for name, value in facts.items():
        print(f"{name:8} {value}")
    artefacts = [manifest.artefacts[stage.name] for stage in model.stages]
    rows = [
        (artefact.stage.name, artefact.path, _tensors(artefact.stage.inputs), _tensors(artefact.stage.outputs))
        for artefact in artefacts
    ]
    print_table(("stage", "artefact", "inputs", "outputs"), rows)
    if manifest.engines:
        print_table(
            ("engine of", "built by", "for", "size MB", "build s", "peak MB"), [_engine(e) for e in manifest.engines]
        )
    for engine in manifest.engines:
        if engine.on_gpu:
            print(f"engine of {engine.stage.name}: {engine.left_to_gpu()}")


def _latency_line(stored: StoredReport) -> str:
    frame = stored.report.get("frame") or {}
    p50, p90 = frame.get("p50_ms"), frame.get("p90_ms")
    figures = f"p50 {p50:.1f} ms, p90 {p90:.1f} ms a frame" if p50 and p90 else "measured"
    return f"{figures}, {stored.runtime}, {stored.created_utc}"


def _engine(engine: EngineFacts) -> tuple[str, ...]:
    sms = f"SM {', '.join(map(str, engine.sms))}"
    return (
        engine.stage.name,
        f"{engine.provider} {engine.version}",
        ("" if engine.options.dla_core is None else f"DLA core {engine.options.dla_core}, ")
        + (f"{engine.device}, {sms}" if engine.device else f"{sms}, ahead of time"),
        f"{engine.size / 1e6:.1f}",
        f"{engine.build_s:.1f}",
        "–" if engine.peak_rss_mb is None else f"{engine.peak_rss_mb:.0f}",
    )


def _tensors(tensors: tuple[TensorSpec, ...]) -> str:
    return ", ".join(f"{tensor.name} {'×'.join(map(str, tensor.shape))}" for tensor in tensors)
