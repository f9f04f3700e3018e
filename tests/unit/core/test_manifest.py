"""A manifest goes out and comes back equal; whatever isn't exactly one is refused, always with the same error."""

from __future__ import annotations

import copy
import dataclasses
import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgedepth.core.errors import BundleSchemaError
from edgedepth.core.manifest import (
    SCHEMA_VERSION,
    Artefact,
    FileEntry,
    Golden,
    Manifest,
    read_manifest,
    render_manifest,
)
from edgedepth.core.spec import ModelSpec, PreprocessSpec, PyramidLevel, StageSpec, TensorSpec, TilingSpec

text = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)  # half characters are no text
counts = st.integers(min_value=-(2**70), max_value=2**70)
floats = st.floats(allow_nan=False, allow_infinity=False)
triples = st.tuples(floats, floats, floats)


def several(item: st.SearchStrategy[Any]) -> st.SearchStrategy[tuple[Any, ...]]:
    return st.lists(item, max_size=2).map(tuple)


def named(item: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.dictionaries(text, item, max_size=3)


tensors = st.builds(TensorSpec, name=text, dtype=text, shape=several(counts | text), unit=text)
stages = st.builds(StageSpec, name=text, inputs=several(tensors), outputs=several(tensors))
levels = st.builds(PyramidLevel, scale=counts, steps=counts, stride=counts, padding=counts)
models = st.builds(
    ModelSpec,
    name=text,
    family=text,
    kind=st.sampled_from(["metric", "relative_inverse"]),
    stages=several(stages),
    preprocess=st.builds(PreprocessSpec, size=counts, resize=st.just("bilinear"), mean=triples, std=triples),
    tiling=st.none() | st.builds(TilingSpec, tile=counts, grid=counts, levels=several(levels)),
    parameters=counts,
    licence=text,
    source=text,
    weights_sha256=text,
    trained=st.booleans(),
)
manifests = st.builds(
    Manifest,
    schema_version=st.just(SCHEMA_VERSION),
    model=models,
    target=text,
    precision=st.sampled_from(["fp32", "fp16", "bf16", "int8"]),
    layout=st.sampled_from(["staged", "single"]),
    tile_batch=st.none() | counts,
    artefacts=named(st.builds(Artefact, stage=stages, path=text)),
    golden=st.builds(Golden, path=text, max_abs_rel=floats, reason=text),
    files=named(st.builds(FileEntry, sha256=text, size=counts)),
    toolchain=named(text),
    created_utc=text,
    device=st.none() | text,
    calibration=st.none() | text,
    parity=st.none() | named(floats | st.booleans()),
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(manifests)
def test_round_trip(manifest: Manifest) -> None:
    rendered = render_manifest(manifest)
    back = read_manifest(rendered, where="manifest.json")
    assert back == manifest
    assert render_manifest(back) == rendered  # tells True from 1.0, which == does not


def test_the_order_of_dicts_does_not_show(manifest: Manifest) -> None:
    files = dict(reversed(manifest.files.items()))
    assert list(files) != list(manifest.files)
    assert render_manifest(dataclasses.replace(manifest, files=files)) == render_manifest(manifest)


def test_nan_is_not_written(manifest: Manifest) -> None:
    golden = Golden(path="golden.npz", max_abs_rel=float("nan"), reason="")
    with pytest.raises(ValueError, match="not JSON compliant"):
        render_manifest(dataclasses.replace(manifest, golden=golden))


def refused(document: str) -> str:
    with pytest.raises(BundleSchemaError) as caught:
        read_manifest(document, where="/some/manifest.json")
    assert caught.value.problem.startswith("/some/manifest.json ")
    return caught.value.problem


# --- the document as a whole


@pytest.mark.parametrize(
    ("document", "reason"),
    [
        ("", "not JSON"),
        ("hello", "not JSON"),
        ("{", "not JSON"),
        ("[]", "no schema_version"),
        ("null", "no schema_version"),
        ("1", "no schema_version"),
        ("{}", "no schema_version"),
        ('{"schema_version": null}', "no schema_version"),
        ('{"schema_version": "1"}', "no schema_version"),
        ('{"schema_version": true}', "no schema_version"),
        ('{"schema_version": 1.0}', "no schema_version"),
        ('{"schema_version": 0}', "the first is 1"),
        ('{"schema_version": -1}', "the first is 1"),
        ('{"schema_version": 2}', "reads up to 1"),
        ('{"schema_version": 1}', "field 'model' is missing"),
        ('{"schema_version": 1, "schema_version": 1}', "field 'schema_version' stands there twice"),
        ('{"schema_version": NaN}', "NaN is not a number that JSON has"),
        ('{"schema_version": 1, "x": -Infinity}', "-Infinity is not a number that JSON has"),
        ('{"schema_version": ' + "9" * 5000 + "}", "not JSON"),
        ("[" * 100_000, "not JSON"),
        ('{"a":' * 100_000, "not JSON"),
        ("\ufeff{}", "not JSON"),
    ],
    ids=lambda value: value[:40],
)
def test_rejected_documents(document: str, reason: str) -> None:
    assert reason in refused(document)


def test_a_newer_schema_asks_for_a_newer_version_whatever_else_it_holds() -> None:
    with pytest.raises(BundleSchemaError) as caught:
        read_manifest('{"schema_version": 7, "anything": [1, 2]}', where="m")
    assert caught.value.remedy == "pip install --upgrade edgedepth"


# --- every field of it

FREE = {"artefacts", "files", "toolchain", "parity", "speed"}  # objects whose names are free
DEFAULTED = {
    "unit",
    "resize",
    "reflect",
    "mean",
    "std",
    "device",
    "build",
    "engines",
    "workspace_mb",
    "optimization_level",
    "dla_core",
    "on_gpu",
    "calibration",
    "parity",
    "speed",
    "width",
    "relative",
}
NULLABLE = {"tile_batch", "tiling", "device", "calibration", "parity", "build", "speed", "width", "relative"}
NULLABLE |= {"workspace_mb", "optimization_level", "dla_core", "peak_rss_mb"}
Place = tuple[str | int, ...]


def places(value: Any, place: Place = ()) -> Iterator[tuple[Place, Any]]:
    """Every value in a document, with the way to it."""
    yield place, value
    if isinstance(value, dict | list):
        for key, item in value.items() if isinstance(value, dict) else enumerate(value):
            yield from places(item, (*place, key))


def changed(document: Any, place: Place, value: Any) -> str:
    """The document with one value replaced."""
    if not place:
        return json.dumps(value)
    document = copy.deepcopy(document)
    parent = document
    for key in place[:-1]:
        parent = parent[key]
    parent[place[-1]] = value
    return json.dumps(document)


def wrong_for(place: Place, value: Any) -> list[Any]:
    """Values of every type that does not belong in that place."""
    shape = len(place) > 1 and place[-2] == "shape"
    wrong: list[Any] = [{"unexpected": 1}, []]
    if isinstance(value, list):
        wrong = ["text", 1, {}]
    elif isinstance(value, dict):
        wrong = ["text", 1, [], True]
    elif isinstance(value, bool):
        wrong += ["text", None] if "parity" in place else [0, 1, "true", None]
    elif isinstance(value, int):
        wrong += [True, 1.5, None if place[-1] != "tile_batch" else "5"] + ([] if shape else ["1"])
    elif isinstance(value, float):
        wrong += ["1.0", None, 10**400] + ([] if "parity" in place else [True])
    elif isinstance(value, str):
        wrong += [True, 1.5] + ([] if shape else [1]) + ([] if place[-1] in NULLABLE else [None])
    elif value is None:
        wrong = [True, 1.5, []]
    return wrong


@pytest.fixture
def document(manifest: Manifest) -> dict[str, Any]:
    full = dataclasses.replace(manifest, device="board", parity={"passed": True, "abs_rel": 0.5})
    loaded: dict[str, Any] = json.loads(render_manifest(full))
    return loaded


def test_every_value_of_a_wrong_type(document: dict[str, Any]) -> None:
    tried = 0
    for place, value in places(document):
        for wrong in wrong_for(place, value) if place else []:
            if place == ("schema_version",):
                continue  # has its own table above
            problem = refused(changed(document, place, wrong))
            assert f"manifest.{place[0]}" in problem, (place, wrong, problem)
            tried += 1
    assert tried > 300


def test_every_missing_and_every_unknown_field(document: dict[str, Any]) -> None:
    missing = unknown = 0
    for place, value in places(document):
        if not isinstance(value, dict) or (place and place[-1] in FREE):
            continue
        for name in set(value) - DEFAULTED - ({"schema_version"} if not place else set()):
            without = {key: item for key, item in value.items() if key != name}
            assert f"field {name!r} is missing" in refused(changed(document, place, without))
            missing += 1
        assert "unknown field 'surprise'" in refused(changed(document, place, {**value, "surprise": 1}))
        unknown += 1
    assert missing > 60
    assert unknown > 15


def test_values_outside_of_what_is_allowed(document: dict[str, Any]) -> None:
    for place in (("precision",), ("layout",), ("model", "kind"), ("model", "preprocess", "resize")):
        assert "got 'other', allowed are ['" in refused(changed(document, place, "other"))
    for wrong, got in ((["fp32"], "list"), ({}, "dict"), (None, "null"), (1, "int")):
        assert f"got {got}, allowed" in refused(changed(document, ("precision",), wrong))
    deep: Any = "fp32"
    for _ in range(300):
        deep = [deep]
    assert "got list, allowed" in refused(changed(document, ("precision",), deep))
    assert "got 2 values, expected 3" in refused(changed(document, ("model", "preprocess", "mean"), [0.5, 0.5]))


@pytest.mark.parametrize("number", ["1e999", "-1e999", "1" * 400])
def test_numbers_too_large_for_a_float(document: dict[str, Any], number: str) -> None:
    text = changed(document, ("golden", "max_abs_rel"), "HERE").replace('"HERE"', number)
    assert "too large for a float" in refused(text)


def test_half_a_character_is_no_text(document: dict[str, Any]) -> None:
    assert "surrogates not allowed" in refused(changed(document, ("target",), "\ud800"))
    document["toolchain"]["\udfff"] = "1"
    assert "surrogates not allowed" in refused(json.dumps(document))


def test_a_field_named_twice_deep_inside(document: dict[str, Any]) -> None:
    text = json.dumps(document).replace('"trained": false', '"trained": false, "trained": true')
    assert "field 'trained' stands there twice" in refused(text)


def test_whole_numbers_serve_as_floats(document: dict[str, Any]) -> None:
    back = read_manifest(changed(document, ("golden", "max_abs_rel"), 1), where="m")
    assert isinstance(back.golden.max_abs_rel, float)
