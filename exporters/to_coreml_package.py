"""The finish of a Core ML package: what it says of itself, the same bytes each time, and the look back at it."""

from __future__ import annotations

import json
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edgedepth.core.errors import ExportFailedError
from edgedepth.core.mlpackage import declared_stage, function_description
from edgedepth.core.optional import require
from edgedepth.core.spec import StageSpec
from edgedepth.exporters.coreml_metadata import PackageMetadata, describe_stage, describe_tensor
from edgedepth.exporters.coreml_options import DEPLOYMENT_TARGETS, CoreMlOptions, deployment_target_named

__all__ = ["check_package", "finish_package"]

_MODEL = Path("Data/com.apple.CoreML/model.mlmodel")
_DATE = "com.github.apple.coremltools.conversion_date"
_REMEDY = "report it with this line and the versions that 'edgedepth doctor' lists"


def finish_package(package: Path, stages: Sequence[StageSpec], metadata: PackageMetadata) -> None:
    """Fill in what Xcode shows, and take out what differs from one export to the next.

    Args:
        package: as coremltools wrote it.
        stages: one, or all those whose functions it holds.
        metadata: author, licence, constants.
    """
    spec = _read_spec(package)
    about = spec.description.metadata
    about.author, about.license, about.versionString = metadata.author, metadata.licence, metadata.version
    about.shortDescription = "; ".join(describe_stage(stage, metadata) for stage in stages)
    about.userDefined.pop(_DATE, None)
    for name, value in metadata.user_defined.items():
        about.userDefined[name] = value
    about.userDefined["edgedepth.stages"] = json.dumps([stage.name for stage in stages])
    for stage in stages:
        description = function_description(spec, stage.name)
        for features, tensors in ((description.input, stage.inputs), (description.output, stage.outputs)):
            texts = {tensor.name: describe_tensor(tensor, stage.name) for tensor in tensors}
            for feature in features:
                feature.shortDescription = texts.get(feature.name, "")
    (package / _MODEL).write_bytes(spec.SerializeToString(deterministic=True))
    _name_items_by_path(package / "Manifest.json")


def check_package(package: Path, stages: Sequence[StageSpec], options: CoreMlOptions) -> None:
    """Read a package back and compare what it declares with what was asked for.

    Raises:
        ExportFailedError: another specification version, or other names, shapes or dtypes.
    """
    spec = _read_spec(package)
    expected = DEPLOYMENT_TARGETS[deployment_target_named(options.deployment_target)]
    if spec.specificationVersion > expected:
        raise ExportFailedError(
            f"{package.name}: coremltools wrote specification version {spec.specificationVersion}; "
            f"{options.deployment_target} reads {expected} and older",
            remedy=_REMEDY,
        )
    for stage in stages:
        found = declared_stage(stage, function_description(spec, stage.name))
        for what in ("inputs", "outputs"):
            if getattr(found, what) != getattr(stage, what):
                raise ExportFailedError(
                    f"stage {stage.name}: coremltools wrote the {what} {getattr(found, what)}; "
                    f"{getattr(stage, what)} were asked for",
                    remedy=_REMEDY,
                )


def _read_spec(package: Path) -> Any:
    proto = require("coremltools.proto.Model_pb2", extra="export,coreml", purpose="to export to Core ML")
    spec = proto.Model()
    spec.ParseFromString((package / _MODEL).read_bytes())
    return spec


def _name_items_by_path(path: Path) -> None:
    """coremltools draws random identifiers for the package's two items."""
    manifest = json.loads(path.read_text(encoding="utf-8"))
    items = manifest["itemInfoEntries"]
    names = {old: str(uuid.uuid5(uuid.NAMESPACE_URL, item["path"])) for old, item in items.items()}
    manifest["itemInfoEntries"] = {names[old]: item for old, item in items.items()}
    manifest["rootModelIdentifier"] = names[manifest["rootModelIdentifier"]]
    path.write_text(json.dumps(manifest, indent=4, sort_keys=True) + "\n", encoding="utf-8", newline="\n")
