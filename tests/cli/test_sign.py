"""The command `edgedepth sign`, and a machine that trusts one key."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from edgedepth import EdgeDepth
from edgedepth.core.bundle import open_bundle
from edgedepth.core.errors import SignatureError
from edgedepth.core.signing import SIGNATURE, TRUSTED_KEY_VARIABLE

from .conftest import Cli


@pytest.fixture
def copied_mini(mini_bundle: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(mini_bundle, tmp_path / "mini"))


@pytest.fixture
def fleet_key(cli: Cli, tmp_path: Path) -> Path:
    path = tmp_path / "fleet.key"
    done = cli("sign", "--new-key", path, "--no-password", "--json")
    assert done.json == {"secret_key": str(path), "public_key": f"{path}.pub"}
    return path


def test_a_machine_that_trusts_a_key_runs_what_it_signed(
    cli: Cli, copied_mini: Path, fleet_key: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    frame = np.zeros((32, 48, 3), np.uint8)
    monkeypatch.setenv(TRUSTED_KEY_VARIABLE, f"{fleet_key}.pub")
    with pytest.raises(SignatureError, match="not signed") as caught:
        EdgeDepth(copied_mini)
    assert f"edgedepth sign {copied_mini}" in caught.value.remedy
    done = cli("sign", copied_mini, "--secret-key", fleet_key, "--no-password")
    assert (done.code, "signed: " in done.out) == (0, True)
    with EdgeDepth(copied_mini, self_test="never") as depth:
        assert depth.infer(frame).depth.shape == (32, 48)
    assert "depth-pro-mini onnx fp32" in (copied_mini / SIGNATURE).read_text()


def test_a_key_given_in_code_counts_where_the_machine_trusts_none(copied_mini: Path, fleet_key: Path) -> None:
    with pytest.raises(SignatureError):
        EdgeDepth(copied_mini, trusted_key=f"{fleet_key}.pub")


def test_verify_checks_a_signature_before_anything_else(cli: Cli, copied_mini: Path, fleet_key: Path) -> None:
    done = cli("verify", copied_mini, "--key", f"{fleet_key}.pub")
    assert (done.code, "is not signed" in done.err) == (2, True)


@pytest.mark.parametrize(
    "words", [("verify",), ("debug",), ("build",), ("repository", "--server", "ovms", "--out", "served")]
)
def test_no_other_command_runs_or_hands_on_what_is_unsigned(
    cli: Cli, copied_mini: Path, fleet_key: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]
) -> None:
    monkeypatch.setenv(TRUSTED_KEY_VARIABLE, f"{fleet_key}.pub")
    done = cli(words[0], copied_mini, *words[1:])
    assert (done.code, "is not signed" in done.err) == (2, True)


def test_a_damaged_bundle_is_not_signed(cli: Cli, copied_mini: Path, fleet_key: Path) -> None:
    path = copied_mini / "golden.npz"
    path.write_bytes(path.read_bytes()[:-1])
    done = cli("sign", copied_mini, "--secret-key", fleet_key, "--no-password")
    assert (done.code, "the manifest says" in done.err) == (2, True)
    assert not (copied_mini / SIGNATURE).exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "one of the arguments --secret-key --new-key is required"),
        (("--secret-key", "k", "--no-password"), "no bundle was named"),
        (("b", "--new-key", "k", "--no-password"), "signs nothing"),
        (("b", "--secret-key", "k", "--no-password"), "no bundle at b"),
        (("--new-key", "k", "--password-file", "absent"), "can't be read"),
    ],
)
def test_mistakes(cli: Cli, words: tuple[str, ...], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    done = cli("sign", *words)
    assert (done.code, said in done.err) == (2, True), done.err


def test_nobody_to_type_a_password(cli: Cli, tmp_path: Path) -> None:
    done = cli("sign", "--new-key", tmp_path / "key")  # pytest's stdin is no terminal
    assert (done.code, "--password-file" in done.err) == (2, True)


def test_signing_again_replaces_the_signature(cli: Cli, copied_mini: Path, fleet_key: Path) -> None:
    for _ in range(2):
        assert cli("sign", copied_mini, "--secret-key", fleet_key, "--no-password").code == 0
    open_bundle(copied_mini, trusted_key=f"{fleet_key}.pub")
