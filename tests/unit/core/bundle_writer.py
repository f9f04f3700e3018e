"""A process that writes bundles, for tests to interrupt. Each bundle carries one number in all of its files.

python bundle_writer.py loop TARGET             write bundle after bundle until killed
python bundle_writer.py hold TARGET             write one, and wait for a line before it is finished
python bundle_writer.py die                     for each line "N TARGET", have a process die of SIGKILL at the Nth
                                                change to the file system, and tell its exit code; of 0 it lives
"""

from __future__ import annotations

import os
import signal
import sys
from itertools import count
from pathlib import Path

from edgedepth.core.bundle import write_bundle
from edgedepth.core.manifest import Artefact, Golden, Manifest
from edgedepth.core.spec import ModelSpec, PreprocessSpec, StageSpec

STAGES = ("decoder", "fov")
CHANGES = {"open", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "shutil.rmtree"}


def write(target: Path, number: int, *, wait: bool = False) -> None:
    """Write the bundle of that number."""
    with write_bundle(target) as writer:
        for name in STAGES:
            (writer.stage_folder(name) / "model.onnx").write_bytes(f"{number} ".encode() * 500)
        (writer.folder / "golden.npz").write_bytes(f"{number} ".encode())
        if wait:
            say_writing()
            sys.stdin.readline()
        stages = [StageSpec(name=name, inputs=(), outputs=()) for name in STAGES]
        writer.finish(
            Manifest(
                schema_version=1,
                model=ModelSpec(
                    name="small",
                    family="depth-pro",
                    kind="metric",
                    stages=tuple(stages),
                    preprocess=PreprocessSpec(size=64),
                    tiling=None,
                    parameters=number,
                    licence="Apache-2.0",
                    source="a test",
                    weights_sha256="0" * 64,
                    trained=False,
                ),
                target="onnx",
                precision="fp32",
                layout="staged",
                tile_batch=None,
                artefacts={stage.name: Artefact(stage=stage, path=f"{stage.name}/model.onnx") for stage in stages},
                golden=Golden(path="golden.npz", max_abs_rel=0.001, reason="a test"),
                files=writer.file_entries(),
                toolchain={},
                created_utc="2025-01-02T03:04:05Z",
            )
        )


def say_writing() -> None:
    tell("writing")


def tell(what: object) -> None:
    """Tell the parent process."""
    sys.stdout.write(f"{what}\n")
    sys.stdout.flush()


def exit_code_of(change: int, target: Path) -> int:
    """Of a process that writes bundle 2 and dies at that change. It is forked: starting Python takes longer."""
    child = os.fork()
    if not child:
        die_at(change)
        write(target, 2)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def die_at(change: int) -> None:
    """From here on, the process dies before its nth change to the file system (opening a file counts)."""
    left = count(1)

    def watch(event: str, _: tuple[object, ...]) -> None:
        if event in CHANGES and next(left) == change:
            os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(watch)


if __name__ == "__main__":
    mode, folder = sys.argv[1], Path(sys.argv[-1])
    if mode == "loop":
        write(folder, 1)
        say_writing()
        for n in count(2):
            write(folder, n)
    elif mode == "die":
        for line in sys.stdin:
            nth, target = line.rstrip("\n").split(" ", 1)
            tell(exit_code_of(int(nth), Path(target)))
    else:
        write(folder, 1, wait=True)
