"""Several Core ML packages as one, with a function for each: what they have in common is stored once."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

from edgedepth.core.errors import EdgeDepthError, ExportFailedError
from edgedepth.core.optional import require
from edgedepth.core.spec import StageSpec
from edgedepth.exporters.coreml_metadata import PackageMetadata
from edgedepth.exporters.coreml_options import CoreMlOptions
from edgedepth.exporters.to_coreml_package import check_package, finish_package

__all__ = ["join_stages"]


def join_stages(
    packages: Mapping[Path, StageSpec], joined: Path, metadata: PackageMetadata, options: CoreMlOptions
) -> None:
    """Put packages into one, and remove them with the folders that they lie in.

    Args:
        packages: each with its stage, whose name its function gets; the first is the default.
        joined: the .mlpackage to write.
        metadata: of the whole.
        options: as the packages were exported.

    Raises:
        ExportFailedError: coremltools gave up, or wrote something else.
    """
    from edgedepth.exporters.to_coreml_stage import quietly  # imports torch

    utils = require("coremltools.models.utils", extra="export,coreml", purpose="to export to Core ML")
    stages = list(packages.values())
    try:
        with tempfile.TemporaryDirectory(dir=joined.parent, prefix="coreml-") as folder, quietly(folder):
            descriptor = utils.MultiFunctionDescriptor()
            for package, stage in packages.items():
                descriptor.add_function(str(package), src_function_name="main", target_function_name=stage.name)
            descriptor.default_function_name = stages[0].name
            utils.save_multifunction(descriptor, str(joined))
        for package in packages:
            shutil.rmtree(package.parent)
        finish_package(joined, stages, metadata)
        check_package(joined, stages, options)
    except (EdgeDepthError, MemoryError, OSError):
        raise
    except Exception as error:  # coremltools raises whatever Python does
        raise ExportFailedError(
            f"the stages can't be joined: {type(error).__name__}: {error}", remedy="leave --multifunction out"
        ) from error
