"""The small conveniences of the specs, and the two protocols' trivial members."""

from __future__ import annotations

import dataclasses

import pytest

from edgedepth.core.manifest import Manifest
from edgedepth.core.plain import from_plain, to_plain
from edgedepth.core.progress import Progress, silent
from edgedepth.core.spec import PreprocessSpec, PyramidLevel, TilingSpec


def test_a_border_that_no_memory_holds_is_refused() -> None:
    assert PreprocessSpec(size=8, reflect=3.0).border(480, 640) == (46, 53)
    for wrong in (-1.0, 1e9, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="reflect is"):
            PreprocessSpec(size=8, reflect=wrong)


def test_tiles_are_counted_over_the_levels() -> None:
    levels = tuple(PyramidLevel(scale=1, steps=steps, stride=1, padding=0) for steps in (5, 3, 1))
    assert TilingSpec(tile=384, grid=24, levels=levels).count == 25 + 9 + 1


def test_a_stage_by_name(manifest: Manifest) -> None:
    assert manifest.model.stage("decoder").name == "decoder"
    with pytest.raises(KeyError, match=r"no stage 'neck'; there are \['patch_encoder', 'decoder'\]"):
        manifest.model.stage("neck")


def test_specs_are_frozen_slotted_and_keyword_only(manifest: Manifest) -> None:
    for value in (manifest, manifest.model, manifest.golden, manifest.model.stages[0], manifest.model.preprocess):
        assert not hasattr(value, "__dict__")
        assert all(field.kw_only for field in dataclasses.fields(value))
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(value, dataclasses.fields(value)[0].name, None)


def test_plain_values_come_back_as_their_dataclass(manifest: Manifest) -> None:
    for value in (manifest.model, manifest.model.tiling, manifest.golden):
        assert value is not None
        assert from_plain(type(value), to_plain(value), where="here") == value


def test_plain_errors_name_the_place() -> None:
    level = {"scale": 1, "steps": 1, "stride": 1, "padding": 0}
    plain = {"tile": 1, "grid": 1, "levels": [level, {**level, "steps": "1"}]}
    with pytest.raises(ValueError, match=r"^here\.levels\[1\]\.steps: got str, expected int$"):
        from_plain(TilingSpec, plain, where="here")


def test_silence() -> None:
    progress: Progress = silent
    progress("a step", 0, 1)
