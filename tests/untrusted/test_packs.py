"""Packs: bundles for several devices in one folder, of which each machine takes its own."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edgedepth.choosing import choose_bundle
from edgedepth.core.bundle import Bundle, open_bundle, write_bundle
from edgedepth.core.engine import BuildOptions, EngineFacts
from edgedepth.core.errors import (
    BundleError,
    BundleNotFoundError,
    BundlePathError,
    BundleSchemaError,
    BundleTamperedError,
    OptionError,
    OutputError,
)
from edgedepth.core.manifest import Manifest
from edgedepth.core.pack import Pack, open_pack, seal_again
from edgedepth.core.packing import write_pack
from edgedepth.core.spec import Precision
from edgedepth.core.store import bundles_folder
from edgedepth.fitting import choose_member
from edgedepth.runtimes.base import Fit, SessionOptions

from . import seeds

Change = Callable[[Manifest], Manifest]


def make(
    folder: Path, target: str, precision: Precision = "fp32", *, change: Change = lambda manifest: manifest
) -> Bundle:
    """A bundle that open_bundle takes, whose artefacts are no graphs."""
    like = open_bundle(seeds.bundle(folder)).manifest
    with write_bundle(folder) as writer:
        (writer.stage_folder("patch_encoder") / "model.onnx").write_bytes(f"{target} {precision}".encode())
        (writer.folder / "golden.npz").write_bytes(seeds.golden())
        manifest = replace(like, target=target, precision=precision, files=writer.file_entries())
        writer.finish(change(manifest))
    return open_bundle(folder)


def engine(sm: int, device: str) -> Change:
    def change(manifest: Manifest) -> Manifest:
        facts = EngineFacts(
            stage=manifest.artefacts["patch_encoder"].stage,
            path="patch_encoder/model.onnx",
            sha256="",
            size=0,
            provider="tensorrt",
            version="10.3",
            sms=(sm,),
            device=device,
            precision=manifest.precision,
            onnx_sha256="",
            options=BuildOptions(),
            build_s=0.0,
            peak_rss_mb=None,
        )
        return replace(manifest, engines=(facts,))

    return change


@pytest.fixture
def pack(tmp_path: Path) -> Pack:
    """An engine for an Orin, a kit, and what runs on CPUs."""
    bundles = [
        make(tmp_path / "a", "tensorrt", "fp16", change=engine(87, "Orin")),
        make(tmp_path / "b", "tensorrt", "fp16"),
        make(tmp_path / "c", "openvino", "bf16"),
        make(tmp_path / "d", "onnx", "fp32"),
    ]
    return write_pack(bundles, tmp_path / "pack")


NAMES = ["tensorrt-fp16-sm87", "tensorrt-fp16", "openvino-bf16", "onnx-fp32"]
NO = Fit(runs=False, reason="it isn't here")
READY = Fit(runs=True, reason="here")
TO_BUILD = Fit(runs=True, to_build=True, reason="no engine")


class TestWriting:
    def test_bundles_keep_their_order_and_every_byte(self, pack: Pack, tmp_path: Path) -> None:
        assert list(open_pack(pack.path).manifests) == NAMES
        for name, source in zip(NAMES, "abcd", strict=True):
            there = {path.name: path.read_bytes() for path in pack.folder(name).rglob("*") if path.is_file()}
            assert there == {path.name: path.read_bytes() for path in (tmp_path / source).rglob("*") if path.is_file()}
            assert pack.bundle(name).manifest == pack.manifests[name]

    def test_a_bundle_of_it_is_a_bundle(self, pack: Pack) -> None:
        assert open_bundle(pack.folder("onnx-fp32")).manifest.target == "onnx"

    @pytest.mark.parametrize(
        ("one", "two", "says"),
        [
            (("onnx", "fp32"), ("onnx", "fp32"), "are both onnx fp32"),
            (("tensorrt", "fp16"), ("tensorrt", "fp16"), "are both tensorrt fp16"),
        ],
    )
    def test_two_for_the_same_device(
        self, one: tuple[str, Precision], two: tuple[str, Precision], says: str, tmp_path: Path
    ) -> None:
        with pytest.raises(OptionError, match=says) as caught:
            write_pack([make(tmp_path / "a", *one), make(tmp_path / "b", *two)], tmp_path / "pack")
        assert "leave one of them out" in caught.value.remedy
        assert not (tmp_path / "pack").exists()

    def test_two_engines_for_the_same_device(self, tmp_path: Path) -> None:
        orins = [make(tmp_path / name, "tensorrt", "fp16", change=engine(87, "Orin")) for name in "ab"]
        with pytest.raises(OptionError, match=r"with an engine of .*Orin"):
            write_pack(orins, tmp_path / "pack")
        thor = make(tmp_path / "c", "tensorrt", "fp16", change=engine(101, "Thor"))
        assert list(write_pack([orins[0], thor], tmp_path / "pack").manifests) == [
            "tensorrt-fp16-sm87",
            "tensorrt-fp16-sm101",
        ]

    @pytest.mark.parametrize("field", ["name", "weights_sha256"])
    def test_another_model_or_other_weights(self, field: str, tmp_path: Path) -> None:
        def other(manifest: Manifest) -> Manifest:
            return replace(manifest, model=replace(manifest.model, **{field: "other"}))

        with pytest.raises(OptionError, match="the same depth everywhere"):
            write_pack(
                [make(tmp_path / "a", "onnx"), make(tmp_path / "b", "openvino", change=other)], tmp_path / "pack"
            )

    def test_somebodys_folder_stays_and_a_pack_is_replaced(self, pack: Pack, tmp_path: Path) -> None:
        one = [make(tmp_path / "one", "onnx")]
        write_pack(one, pack.path)
        assert list(open_pack(pack.path).manifests) == ["onnx-fp32"]
        (pack.path / "thesis.tex").touch()
        with pytest.raises(OutputError):
            write_pack(one, pack.path)
        with pytest.raises(OptionError, match="to be packed"):
            write_pack(one, tmp_path)


class TestOpening:
    def test_no_flipped_byte_of_the_list_is_taken(self, pack: Pack) -> None:
        path = pack.path / "targets.json"
        whole = path.read_bytes()
        for at in range(len(whole)):
            path.write_bytes(whole[:at] + bytes([whole[at] ^ 1 << at % 8]) + whole[at + 1 :])
            with pytest.raises(BundleError):
                open_pack(pack.path)
        path.write_bytes(whole)
        open_pack(pack.path)

    def test_a_bundle_that_was_swapped_or_changed(self, pack: Pack, tmp_path: Path) -> None:
        make(pack.folder("onnx-fp32"), "onnx", "fp32", change=lambda manifest: replace(manifest, tile_batch=3))
        with pytest.raises(BundleTamperedError, match="not the bundle that was packed") as caught:
            open_pack(pack.path)
        assert f"edgedepth pack {pack.path}/targets/*" in caught.value.remedy

    def test_a_manifest_replaced_between_the_list_and_its_use(self, pack: Pack) -> None:
        opened = open_pack(pack.path)
        make(pack.folder("onnx-fp32"), "onnx", "fp32", change=lambda manifest: replace(manifest, tile_batch=3))
        with pytest.raises(BundleTamperedError, match="not the bundle that was packed"):
            opened.bundle("onnx-fp32")

    def test_one_corrupted_file_is_that_bundles_error_and_no_others(self, pack: Pack) -> None:
        file = pack.folder("onnx-fp32") / "patch_encoder" / "model.onnx"
        file.write_bytes(file.read_bytes()[::-1])
        opened = open_pack(pack.path)
        opened.bundle("openvino-bf16")
        with pytest.raises(BundleTamperedError, match="SHA-256"):
            opened.bundle("onnx-fp32")

    def test_what_is_missing_or_nobody_listed(self, pack: Pack) -> None:
        (pack.path / ".DS_Store").touch()
        open_pack(pack.path)
        shutil.copytree(pack.folder("onnx-fp32"), pack.path / "targets" / "extra")
        with pytest.raises(BundleTamperedError, match="extra is not of this pack"):
            open_pack(pack.path)
        shutil.rmtree(pack.path / "targets" / "extra")
        shutil.rmtree(pack.folder("onnx-fp32"))
        with pytest.raises(BundleTamperedError, match="onnx-fp32 is missing"):
            open_pack(pack.path)

    def test_a_link(self, pack: Pack, tmp_path: Path) -> None:
        moved = pack.folder("onnx-fp32").rename(tmp_path / "elsewhere")
        pack.folder("onnx-fp32").symlink_to(moved)
        with pytest.raises(BundlePathError, match="is a link"):
            open_pack(pack.path)

    @pytest.mark.parametrize("name", ["../d", "/etc", "ONNX", ".hidden", "a/b", ""])
    def test_names_that_lead_out(self, name: str, pack: Pack) -> None:
        document = json.loads((pack.path / "targets.json").read_text())
        document["targets"][name] = "0" * 64
        (pack.path / "targets.json").write_text(json.dumps(document, indent=2) + "\n")
        with pytest.raises(BundlePathError, match="no plain name"):
            open_pack(pack.path)

    def test_a_newer_one_and_a_huge_one(self, pack: Pack) -> None:
        path = pack.path / "targets.json"
        document = json.loads(path.read_text())
        path.write_text(json.dumps(document | {"schema_version": 2}, indent=2) + "\n")
        with pytest.raises(BundleSchemaError, match="reads up to 1"):
            open_pack(pack.path)
        with path.open("wb") as file:
            file.truncate(10 << 30)
        with pytest.raises(BundleError, match="can't be read"):
            open_pack(pack.path)

    def test_what_takes_one_bundle_tells_which_there_are(self, pack: Pack) -> None:
        with pytest.raises(BundleNotFoundError, match="a pack of several bundles") as caught:
            open_bundle(pack.path)
        assert str(pack.folder("onnx-fp32")) in caught.value.remedy


class TestChoosing:
    @pytest.mark.parametrize(
        ("fits", "chosen"),
        [
            ((READY, READY, READY, READY), "tensorrt-fp16-sm87"),
            ((TO_BUILD, READY, READY, READY), "tensorrt-fp16"),  # built here before
            ((TO_BUILD, TO_BUILD, READY, READY), "tensorrt-fp16-sm87"),  # a kit as well: it holds the same graphs
            ((NO, NO, READY, READY), "openvino-bf16"),
            ((NO, NO, NO, READY), "onnx-fp32"),
        ],
    )
    def test_the_packs_order_and_what_is_here_decide(self, pack: Pack, fits: tuple[Fit, ...], chosen: str) -> None:
        assert choose_member(pack, None, None, dict(zip(NAMES, fits, strict=True))).name == chosen

    def test_what_was_asked_for_is_never_another(self, pack: Pack) -> None:
        fits = dict.fromkeys(NAMES, READY)
        assert choose_member(pack, "onnx", None, fits).name == "onnx-fp32"
        assert choose_member(pack, None, "bf16", fits).name == "openvino-bf16"
        with pytest.raises(OptionError, match="onnx fp16 was asked for"):
            choose_member(pack, "onnx", "fp16", fits)
        with pytest.raises(BundleNotFoundError, match="onnx-fp32: it isn't here"):
            choose_member(pack, "onnx", None, fits | {"onnx-fp32": NO})

    def test_none_fits(self, pack: Pack) -> None:
        with pytest.raises(
            BundleNotFoundError, match=r"nothing in .* runs here: tensorrt-fp16-sm87: it isn't"
        ) as caught:
            choose_member(pack, None, None, dict.fromkeys(NAMES, NO))
        assert "edgedepth doctor" in caught.value.remedy

    def test_this_machine_has_no_gpu_and_says_what_it_took(self, pack: Pack, caplog: pytest.LogCaptureFixture) -> None:
        pytest.importorskip("onnxruntime", reason="the runtime of the only bundle that every CPU takes")
        with caplog.at_level(logging.INFO):
            bundle = choose_bundle(pack.path, "onnx", None, options=SessionOptions(device="cpu"))
        assert bundle.path == pack.folder("onnx-fp32")
        assert "of 4 bundles" in caplog.text
        assert "onnx-fp32, on onnx" in caplog.text
        with pytest.raises(BundleNotFoundError, match="no tpu"):
            choose_bundle(pack.path, "onnx", None, options=SessionOptions(device="tpu"))


def test_an_engine_that_is_built_inside_of_a_pack_is_listed_again(pack: Pack, caplog: pytest.LogCaptureFixture) -> None:
    member = pack.folder("tensorrt-fp16")
    (pack.path / "targets.json.minisig").touch()
    make(member, "tensorrt", "fp16", change=engine(101, "Thor"))
    seal_again(member)
    assert open_pack(pack.path).bundle("tensorrt-fp16").manifest.engines[0].device == "Thor"
    assert not (pack.path / "targets.json.minisig").exists()
    assert "sign the pack again" in caplog.text
    seal_again(make(pack.path.parent / "alone", "onnx").path)  # lies in no pack


def test_the_store_takes_packs(pack: Pack) -> None:
    from edgedepth.core.store import stored, stored_bundles, surplus

    make(bundles_folder() / "alone", "onnx", change=lambda manifest: replace(manifest, created_utc="2030-01-01"))
    shutil.copytree(pack.path, bundles_folder() / "several")
    alone, several = stored()
    assert (several.path.name, several.size, several.model) == ("several", pack.size, "small")
    assert [bundle.path.name for bundle in stored_bundles()] == ["alone"]
    assert surplus([alone, several], max_bytes=alone.size) == [several]
    several.remove()
    assert [one.path.name for one in stored()] == ["alone"]


def test_depth_of_a_pack_is_the_bundles(mini_bundle: Path, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime", reason="it runs the mini")
    from edgedepth import EdgeDepth

    pack = write_pack([open_bundle(mini_bundle)], tmp_path / "pack")
    frame = np.random.default_rng(0).integers(0, 255, (48, 64, 3), np.uint8)
    with EdgeDepth(mini_bundle, self_test="never") as alone, EdgeDepth(pack.path, self_test="never") as packed:
        expected, result = alone.infer(frame), packed.infer(frame)
    assert np.array_equal(result.depth, expected.depth)
    assert (result.backend, result.precision) == ("onnx", "fp32")
    assert packed.bundle is not None
    assert packed.bundle.path == pack.folder("onnx-fp32")
    with pytest.raises(OptionError, match="holds one bundle"):
        EdgeDepth(pack.path, backend="triton", url="host:1")
