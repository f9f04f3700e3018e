"""The shape of the package: what each module exports is written down, and no module hides somebody else's."""

from __future__ import annotations

import ast
import importlib.metadata
import importlib.util
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LINKED = ("exporters", "runtimes", "calibration")
SOURCES = sorted(path for folder in ("edgedepth", *LINKED) for path in (ROOT / folder).rglob("*.py"))
MODULES = [path for path in SOURCES if path.name not in {"__init__.py", "__main__.py"}]
PACKAGES = [path for path in SOURCES if path.name == "__init__.py"]

# Toolchains and runtimes that a module of ours could be named after; most are not installed where tests run.
TOOLCHAINS = {
    *("coremltools", "cv2", "executorch", "huggingface_hub", "ncnn", "numpy", "onnx", "onnxruntime", "onnxscript"),
    *("openvino", "rknn", "safetensors", "tensorflow", "tensorrt", "tflite_runtime", "torch", "transformers", "tvm"),
}


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def exported(tree: ast.Module) -> list[str] | None:
    """The names in __all__, if it is written down as a plain list or tuple of strings."""
    for node in tree.body:
        targets = (
            node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
        )
        if any(isinstance(target, ast.Name) and target.id == "__all__" for target in targets):
            names = ast.literal_eval(node.value)  # type: ignore[union-attr, arg-type]
            assert all(isinstance(name, str) for name in names)
            return list(names)
    return None


def defined(tree: ast.Module) -> set[str]:
    """Names bound at the top of a module by def, class, assignment or import, inside of if and try too."""
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.ClassDef | ast.AsyncFunctionDef):
            names.add(node.name)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
        elif isinstance(node, ast.alias):
            names.add((node.asname or node.name).partition(".")[0])
    return names


def test_there_is_something_to_look_at() -> None:
    assert {"edgedepth/core/bundle.py", "exporters/base.py", "runtimes/base.py"} <= {name_of(path) for path in MODULES}


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_every_module_says_what_it_exports(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    names = exported(tree)
    assert names is not None, f"{name_of(path)} has no __all__"
    assert len(names) == len(set(names))
    assert not set(names) - defined(tree), "exported and not defined"
    public = {
        node.name
        for node in tree.body
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_")
    }
    assert not public - set(names), "public by its name and not exported: add it to __all__ or give it an underscore"


@pytest.mark.parametrize("path", PACKAGES, ids=name_of)
def test_a_package_that_holds_names_says_which(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    public = {name for name in defined(tree) if not name.startswith("_")} - {"annotations"}
    assert not public or exported(tree) is not None


def test_every_module_tells_its_job() -> None:
    silent = [name_of(path) for path in SOURCES if not ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))]
    assert silent == []


# Which optional packages a module may import when it is itself imported; everywhere else, where they are used.
EAGER = {
    "edgedepth/models/*.py": {"torch"},
    "edgedepth/training/*.py": {"torch"},
    "exporters/to_coreai_stage.py": {"torch"},
    "exporters/to_coreml_int8.py": {"torch"},
    "exporters/to_coreml_stage.py": {"torch"},
    "exporters/to_onnx*.py": {"onnx", "onnx_ir", "onnxscript", "torch"},
    "runtimes/torch_*.py": {"torch"},
}


def eager_imports(body: Sequence[ast.AST]) -> set[str]:
    """Top-level names of what is imported along with a module: not inside of functions, nor for type checkers only."""
    found: set[str] = set()
    for node in body:
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add((node.module or "").partition(".")[0])
        elif not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and not for_type_checkers(node):
            found |= eager_imports(list(ast.iter_child_nodes(node)))
    return found


def for_type_checkers(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_optional_packages_are_imported_where_they_are_used(path: Path) -> None:
    always = {"edgedepth", "numpy", "cv2", *sys.stdlib_module_names}
    allowed = set().union(*(names for pattern, names in EAGER.items() if path.match(pattern)))
    assert not eager_imports(ast.parse(path.read_text(encoding="utf-8")).body) - always - allowed


def test_eager_imports_sees_through_conditions() -> None:
    source = """
import a.b
from c import d
if TYPE_CHECKING:
    import no1
try:
    import e
except ImportError:
    import f
class C:
    import g
def late():
    import no2
"""
    assert eager_imports(ast.parse(source).body) == set("acefg")


@pytest.mark.parametrize("folder", LINKED)
def test_no_module_is_named_like_somebody_else_s_package(folder: str) -> None:
    # Run from inside of its folder, exporters/onnx.py would be what `import onnx` finds.
    foreign = TOOLCHAINS | set(importlib.metadata.packages_distributions())
    assert not {path.stem for path in MODULES if path.parent.name == folder} & foreign


@pytest.mark.parametrize("folder", LINKED)
def test_the_linked_folders_are_the_packages(folder: str) -> None:
    found = importlib.util.find_spec(f"edgedepth.{folder}")
    assert found is not None
    assert found.origin is not None
    assert Path(found.origin).resolve() == ROOT / folder / "__init__.py"


# --- the direction of imports: the contracts are in pyproject.toml


def lint(root: Path) -> subprocess.CompletedProcess[str]:
    command = [
        sys.executable,
        "-c",
        "from importlinter.cli import lint_imports_command as lint; lint()",
        "--no-cache",
    ]
    return subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the package, to plant faults in."""
    if importlib.util.find_spec("importlinter") is None:
        pytest.skip("needs import-linter, of the extra `dev`")
    root = tmp_path_factory.mktemp("tree")
    for folder in ("edgedepth", *LINKED):
        shutil.copytree(ROOT / folder, root / folder, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", root)
    return root


def test_the_contracts_hold(tree: Path) -> None:
    result = lint(tree)
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize(
    ("module", "statement"),
    [
        ("edgedepth/core/planted.py", "from edgedepth.models import registry"),
        ("edgedepth/programs/planted.py", "from edgedepth.runtimes import base"),
        ("edgedepth/programs/planted.py", "from edgedepth.models import registry"),
        ("edgedepth/verify/planted.py", "from edgedepth.runtimes import base"),
        ("exporters/planted.py", "from edgedepth.runtimes import base"),
        ("runtimes/planted.py", "import edgedepth.cli"),
        ("edgedepth/verify/planted.py", "import torch"),
        ("edgedepth/cli/planted.py", "def late() -> None:\n    import torch"),
    ],
)
def test_a_planted_import_is_found(tree: Path, module: str, statement: str) -> None:
    (tree / module).write_text(f'"""Planted."""\n\n{statement}\n')
    try:
        result = lint(tree)
    finally:
        (tree / module).unlink()
    assert result.returncode == 1, result.stdout + result.stderr
    assert "planted" in result.stdout
