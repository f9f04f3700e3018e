"""The wheel, built for real and installed where nothing else is."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from edgedepth.cli import COMMANDS
from edgedepth.core.runs import Entry, Run, write_run

ROOT = Path(__file__).resolve().parents[2]
MAPPED = {"exporters": "edgedepth/exporters", "runtimes": "edgedepth/runtimes", "calibration": "edgedepth/calibration"}


def run(*command: str | Path, **env: str) -> subprocess.CompletedProcess[str]:
    # PYTHONPATH would let the checkout in; the folder would too.
    clean = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    return subprocess.run(
        [str(part) for part in command], cwd="/", env=clean | env, capture_output=True, text=True, check=False
    )


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("wheel")
    # A copy: a build leaves build/ and *.egg-info beside what it builds.
    source = tmp_path_factory.mktemp("source") / "edgedepth"
    source.mkdir()
    files = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    ).stdout.splitlines()  # fmt: skip
    for name in files:
        if (ROOT / name).is_symlink() or not (ROOT / name).is_file():
            continue  # the wheel must come out right on a clone without symlinks
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_bytes((ROOT / name).read_bytes())
    built = run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", out, source)
    assert built.returncode == 0, built.stdout + built.stderr
    return next(out.glob("*.whl"))


@pytest.fixture(scope="session")
def bare(tmp_path_factory: pytest.TempPathFactory, wheel: Path) -> Path:
    """The Python of a venv that holds the wheel and what it requires, and nothing else."""
    folder = tmp_path_factory.mktemp("bare") / "venv"
    assert run(sys.executable, "-m", "venv", folder).returncode == 0
    python = folder / ("Scripts" if os.name == "nt" else "bin") / "python"
    installed = run(python, "-m", "pip", "install", "--quiet", wheel)
    if installed.returncode != 0 and "No matching distribution" not in installed.stderr:
        assert "edgedepth" not in installed.stderr, installed.stderr
        pytest.skip(f"no package registry to install numpy and opencv-python from: {installed.stderr[-300:]}")
    assert installed.returncode == 0, installed.stderr
    return python


def test_the_wheel_holds_the_tree_and_nothing_else(wheel: Path) -> None:
    expected = {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "edgedepth").rglob("*.py")
        if not any(parent.is_symlink() for parent in path.parents)
    }
    for folder, package in MAPPED.items():
        expected |= {f"{package}/{p.relative_to(ROOT / folder).as_posix()}" for p in (ROOT / folder).rglob("*.py")}
    expected.add("edgedepth/py.typed")
    shipped = (ROOT / "edgedepth" / "models" / "shipped").rglob("*.*")
    expected |= {path.relative_to(ROOT).as_posix() for path in shipped}
    assert "edgedepth/models/shipped/depth_pro_mini/model.safetensors" in expected
    vocabulary = (ROOT / "edgedepth" / "programs" / "clip_vocabulary").iterdir()
    expected |= {path.relative_to(ROOT).as_posix() for path in vocabulary if path.is_file()}
    expected |= {path.relative_to(ROOT).as_posix() for path in (ROOT / "edgedepth" / "report" / "assets").iterdir()}
    expected.add("edgedepth/ros/edgedepth.launch.xml")
    held = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    assert held == expected


def test_a_bare_install_brings_numpy_and_opencv_only(bare: Path) -> None:
    listed = run(bare, "-m", "pip", "list", "--format=freeze").stdout.splitlines()
    names = {line.partition("==")[0].lower() for line in listed} - {"pip", "setuptools", "wheel"}
    assert names == {"edgedepth", "numpy", "opencv-python"}


@pytest.mark.parametrize("command", [(), *((name,) for name in COMMANDS)], ids=lambda c: "".join(c) or "edgedepth")
def test_help_needs_no_extra(bare: Path, command: tuple[str, ...]) -> None:
    done = run(bare.parent / "edgedepth", *command, "--help")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("usage: edgedepth")
    assert done.stderr == ""


def test_every_module_imports_without_extras_but_those_that_are_torch(bare: Path) -> None:
    modules = run(
        bare,
        "-c",
        "import pkgutil, edgedepth; print(*[m.name for m in pkgutil.walk_packages(edgedepth.__path__, 'edgedepth.')])",
    ).stdout.split()
    assert "edgedepth.runtimes.ort_session" in modules
    allowed = set()  # may import torch at module level; design of the package
    for name in modules:
        folder = ROOT / Path(*name.split("."))
        path = folder / "__init__.py" if folder.is_dir() else folder.with_suffix(".py")
        body = ast.parse(path.read_text()).body
        tops = {n.name for node in body if isinstance(node, ast.Import) for n in node.names}
        tops |= {node.module for node in body if isinstance(node, ast.ImportFrom) and node.module}
        if "torch" in tops or name.split(".")[1] == "models":
            allowed.add(name)
    plain = [name for name in modules if name not in allowed and not name.endswith("__main__")]
    assert "edgedepth.facade" in plain
    done = run(bare, "-W", "error", "-c", "import " + ", ".join(plain))
    assert done.returncode == 0, done.stderr
    torch_users = {name for name in allowed if name.split(".")[1] not in ("models", "training")}
    assert torch_users <= {
        "edgedepth.exporters.to_coreai_stage",
        "edgedepth.exporters.to_coreml_int8",
        "edgedepth.exporters.to_coreml_stage",
        "edgedepth.exporters.to_onnx_stage",
        "edgedepth.runtimes.torch_session",
        "edgedepth.runtimes.torch_reference",
        "edgedepth.runtimes.torch_reference_rsa",
        "edgedepth.runtimes.torch_reference_zoedepth",
    }


@pytest.mark.parametrize(
    ("command", "extra"),
    [
        (("export", "--model", "depth-pro-mini"), "export"),
        (("infer", "PHOTO", "--model", "depth-pro-mini", "--backend", "torch"), "export"),
        (("verify", "BUNDLE", "--images", "PHOTO"), "cli"),
        (("demo",), "demo"),
        (("report", "RUN"), "report"),
    ],
    ids=lambda value: value if isinstance(value, str) else value[0],
)
def test_a_missing_extra_is_one_line_with_its_cure(
    bare: Path, tmp_path: Path, mini_bundle: Path, command: tuple[str, ...], extra: str
) -> None:
    photo = tmp_path / "photo.png"
    photo.write_bytes(b"\x89PNG\r\n\x1a\n")
    run_folder = tmp_path / "run"
    run_folder.mkdir()
    facts = {"name": "a", "model": "m", "target": "onnx", "precision": "fp32", "status": "unproven"}
    write_run(
        run_folder,
        Run(kind="bench", command="", created_utc="", machine={}, versions={}, entries=(Entry(**facts),)),  # type: ignore[arg-type]
    )
    words = {"PHOTO": str(photo), "BUNDLE": str(mini_bundle), "RUN": str(run_folder)}
    done = run(
        bare.parent / "edgedepth", *(words.get(word, word) for word in command), EDGEDEPTH_HOME=str(tmp_path / "home")
    )
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    problem, cure = done.stderr.strip().splitlines()[-2:]
    assert problem.startswith("edgedepth: error: ")
    assert "is not installed" in problem
    assert f"pip install 'edgedepth[{extra}]'" in cure


def test_a_bundle_without_its_runtime_names_the_extra(bare: Path, tmp_path: Path, mini_bundle: Path) -> None:
    code = f"import edgedepth; edgedepth.EdgeDepth({str(mini_bundle)!r})"
    done = run(bare, "-c", code, EDGEDEPTH_HOME=str(tmp_path / "home"))
    assert "MissingExtraError: onnxruntime is needed" in done.stderr
    assert "pip install 'edgedepth[onnx]'" in done.stderr


@pytest.mark.parametrize("command", ["models", "doctor"])
def test_what_reports_works_bare(bare: Path, tmp_path: Path, command: str) -> None:
    done = run(bare.parent / "edgedepth", command, "--json", EDGEDEPTH_HOME=str(tmp_path / "home"))
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert done.stdout.startswith("{")
