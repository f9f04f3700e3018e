"""A run's folder: nothing half-written, nothing of another run, nothing lost."""

import resource
from pathlib import Path

import pytest
import torch

from edgedepth.core.errors import OutputError, TrainingError
from edgedepth.training.run_folder import RunFolder

SETTINGS = {"recipe": {"steps": 3, "sizes": (1, 2)}}


def test_a_folder_is_taken_up_again(tmp_path: Path) -> None:
    first = RunFolder(tmp_path / "run", SETTINGS)
    first.log("tiles", 1, {"loss": 0.25})
    first.save_checkpoint("tiles", 1, {"module": {"w": torch.ones(2)}})
    again = RunFolder(tmp_path / "run", SETTINGS)
    assert [(p.phase, p.step, p.name, p.value) for p in again.curves] == [("tiles", 1, "loss", 0.25)]
    state = again.load_checkpoint("tiles")
    assert state is not None
    assert state["step"] == 1
    assert torch.equal(state["module"]["w"], torch.ones(2))


def test_another_phases_checkpoint_is_not_this_ones(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run", SETTINGS)
    folder.save_checkpoint("tiles", 1, {})
    assert folder.load_checkpoint("fov") is None


def test_curves_are_cut_back_to_the_checkpoint(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run", SETTINGS)
    folder.log("tiles", 1, {"loss": 3.0})
    folder.save_checkpoint("tiles", 1, {})
    folder.log("tiles", 2, {"loss": 2.0})
    folder.load_checkpoint("tiles")
    assert [p.step for p in folder.curves] == [1]


def test_other_settings_are_refused_by_name(tmp_path: Path) -> None:
    RunFolder(tmp_path / "run", SETTINGS)
    with pytest.raises(TrainingError, match="recipe differ") as caught:
        RunFolder(tmp_path / "run", {"recipe": {"steps": 4}})
    assert "--out" in caught.value.remedy


@pytest.mark.parametrize(("name", "content"), [("settings.json", "{half"), ("curves.csv", "phase,step\ntiles,one\n")])
def test_a_damaged_run_is_refused(tmp_path: Path, name: str, content: str) -> None:
    folder = RunFolder(tmp_path / "run", SETTINGS)
    folder.save_checkpoint("tiles", 1, {})
    (tmp_path / "run" / name).write_text(content)
    with pytest.raises(TrainingError, match="damaged training run"):
        RunFolder(tmp_path / "run", SETTINGS)


def test_a_folder_of_something_else_is_refused_and_kept(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("all of it")
    with pytest.raises(TrainingError, match="neither empty nor a training run"):
        RunFolder(tmp_path, SETTINGS)
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.txt"]


def test_a_file_in_the_folders_place(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("a file")
    with pytest.raises(OutputError):
        RunFolder(tmp_path / "run", SETTINGS)


def test_weights_take_the_checkpoints_place(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run", SETTINGS)
    folder.save_checkpoint("tiles", 1, {})
    folder.save_weights("tiles", {"w": torch.arange(3.0)})
    assert folder.load_checkpoint("tiles") is None
    assert torch.equal(folder.load_weights("tiles")["w"], torch.arange(3.0))


def test_a_damaged_checkpoint_says_what_to_do(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run", SETTINGS)
    (tmp_path / "run" / "checkpoint.pt").write_bytes(b"half a checkp")
    with pytest.raises(TrainingError, match="can't be read") as caught:
        folder.load_checkpoint("tiles")
    assert "delete it" in caught.value.remedy


def test_a_full_disk_keeps_the_last_checkpoint(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run", SETTINGS)
    folder.save_checkpoint("tiles", 1, {"module": {"w": torch.ones(4)}})
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    # No file beyond 8 kB: the kernel refuses the write as a full disk would.
    resource.setrlimit(resource.RLIMIT_FSIZE, (8192, hard))
    try:
        with pytest.raises(OutputError, match="can't be written"):
            folder.save_checkpoint("tiles", 2, {"module": {"w": torch.ones(100_000)}})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    state = folder.load_checkpoint("tiles")
    assert state is not None
    assert state["step"] == 1
    assert not list((tmp_path / "run").glob(".edgedepth-*"))
