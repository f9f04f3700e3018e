"""The golden frame notices a device that computes something else, at the loosest tolerance there is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edgedepth.core.errors import BundleTamperedError, OptionError, SelfTestError
from edgedepth.core.manifest import Golden
from edgedepth.core.session import Array
from edgedepth.core.spec import StageSpec
from edgedepth.core.tolerances import tolerance_for
from edgedepth.exporters.golden import write_golden
from edgedepth.models.loading import LoadedModel
from edgedepth.models.module_session import module_stages
from edgedepth.programs.depth_pro import DepthProProgram
from edgedepth.programs.fake_session import FakeSession
from edgedepth.programs.stages import StagePool
from edgedepth.verify.selftest import run_self_test

Alter = Callable[[dict[str, Array]], Mapping[str, Array]]


LOST = tolerance_for("fp16").lost_structure


@pytest.fixture(scope="module")
def golden(mini: LoadedModel, tmp_path_factory: pytest.TempPathFactory) -> tuple[Golden, Path]:
    folder = tmp_path_factory.mktemp("golden")
    golden = write_golden(mini, folder, tile_batch=5, precision="fp16")
    return golden, folder / golden.path


def device(mini: LoadedModel, stage: str = "", alter: Alter = dict, tile_batch: int = 5) -> DepthProProgram:
    """The mini on a device that is right in everything but one stage."""
    real = module_stages(mini)

    def open_stage(name: str) -> FakeSession:
        session = real(name)

        def compute(_: StageSpec, feeds: Mapping[str, Array]) -> Mapping[str, Array]:
            outputs = session.run(feeds)
            return alter(outputs) if name == stage else outputs

        return FakeSession(mini.spec.stage(name), compute)

    return DepthProProgram(mini.spec, StagePool(open_stage), tile_batch=tile_batch)


def test_a_right_device_passes_with_any_micro_batch(mini: LoadedModel, golden: tuple[Golden, Path]) -> None:
    # float32 sums in another order: core/tolerances.py, fp32
    assert run_self_test(device(mini, tile_batch=7), *golden, max_lost_structure=LOST) <= 1e-4


def swapped_tiles(outputs: dict[str, Array]) -> dict[str, Array]:
    return {name: np.ascontiguousarray(array[::-1]) for name, array in outputs.items()}


def swapped_hooks(outputs: dict[str, Array]) -> dict[str, Array]:
    return outputs | {"latent0": outputs["latent1"], "latent1": outputs["latent0"]}


def turned(outputs: dict[str, Array]) -> dict[str, Array]:
    return {name: np.ascontiguousarray(array.swapaxes(1, 2)) for name, array in outputs.items()}


def scaled(outputs: dict[str, Array]) -> dict[str, Array]:
    return {name: array * np.float32(1.02) for name, array in outputs.items()}


def not_a_number(outputs: dict[str, Array]) -> dict[str, Array]:
    return {name: array * np.float32(np.nan) for name, array in outputs.items()}


@pytest.mark.parametrize(
    ("stage", "alter"),
    [
        ("patch_encoder", swapped_tiles),
        ("patch_encoder", swapped_hooks),
        ("patch_encoder", turned),
        ("patch_encoder", not_a_number),
        ("image_encoder", turned),
        ("decoder", scaled),
        ("decoder", not_a_number),
        ("fov", scaled),
        ("fov", not_a_number),
    ],
    ids=lambda value: value if isinstance(value, str) else value.__name__,
)
def test_a_wrong_device_is_refused(mini: LoadedModel, golden: tuple[Golden, Path], stage: str, alter: Alter) -> None:
    with pytest.raises(SelfTestError):
        run_self_test(device(mini, stage, alter), *golden, max_lost_structure=LOST)


def test_two_tiles_in_each_others_place_are_refused_even_where_abs_rel_lets_them_pass(
    mini: LoadedModel, golden: tuple[Golden, Path]
) -> None:
    def exchanged(outputs: dict[str, Array]) -> dict[str, Array]:
        order = [1, 0, 2, 3, 4]
        return {name: np.ascontiguousarray(array[order]) for name, array in outputs.items()}

    eight_bits, wide = tolerance_for("int8"), replace(golden[0], max_abs_rel=0.5)
    with pytest.raises(SelfTestError, match="a part of the frame shows other shapes"):
        run_self_test(
            device(mini, "patch_encoder", exchanged), wide, golden[1], max_lost_structure=eight_bits.lost_structure
        )


def test_an_option_that_does_not_fit_is_not_the_devices_fault(mini: LoadedModel, golden: tuple[Golden, Path]) -> None:
    with pytest.raises(OptionError):
        run_self_test(device(mini, tile_batch=36), *golden, max_lost_structure=LOST)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 cut", b"not an archive"])
def test_a_golden_file_that_is_none(
    mini: LoadedModel, golden: tuple[Golden, Path], tmp_path: Path, content: bytes
) -> None:
    path = tmp_path / "golden.npz"
    path.write_bytes(content)
    with pytest.raises(BundleTamperedError, match="is not a golden frame"):
        run_self_test(device(mini), golden[0], path, max_lost_structure=LOST)
