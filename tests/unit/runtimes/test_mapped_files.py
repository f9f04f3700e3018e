"""Mapped files: which memory is let go of, and that nothing is lost by it."""

from __future__ import annotations

import mmap
import sys
from pathlib import Path

import numpy as np
import pytest

from edgedepth.core.bundle import open_bundle
from edgedepth.runtimes.base import SessionOptions, backend_named
from edgedepth.runtimes.mapped_files import forget_mapped_pages, read_only_mappings

# Lines as proc(5) shows them; the addresses are made up.
MAPS = """\
55d0c0a00000-55d0c0b00000 r-xp 00000000 fe:00 11 /usr/bin/python3
7fddd1600000-7fddd1601000 r--s 00000000 fe:00 22 /store/a bundle/fov.bin
7fddd1700000-7fddd1702000 r--p 00001000 fe:00 23 /store/a bundle/decoder.bin
7fddd1800000-7fddd1801000 rw-s 00000000 fe:00 24 /store/a bundle/written.bin
7fddd1900000-7fddd1901000 r--s 00000000 fe:00 25 /store/a bundle 2/fov.bin
7fddd1a00000-7fddd1a01000 rw-p 00000000 00:00 0 [heap]
7fddd1b00000-7fddd1b01000 rw-p 00000000 00:00 0
"""


def test_only_what_is_read_only_and_below_the_folder():
    found = read_only_mappings(MAPS, [Path("/store/a bundle")])
    assert found == [(0x7FDDD1600000, 0x1000), (0x7FDDD1700000, 0x2000)]
    assert read_only_mappings(MAPS, []) == []


def resident_kb(folder: Path) -> int:
    """Memory of the files below a folder that this process holds, by /proc/self/smaps."""
    total, inside = 0, False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        if "-" in line.split()[0]:
            inside = str(folder) in line
        elif inside and line.startswith("Rss:"):
            total += int(line.split()[1])
    return total


linux = pytest.mark.skipif(sys.platform != "linux", reason="what is asked of the system is Linux's")


@linux
def test_memory_goes_and_content_stays(tmp_path: Path):
    content = np.random.default_rng(0).bytes(1 << 22)
    (tmp_path / "weights.bin").write_bytes(content)
    with (tmp_path / "weights.bin").open("rb") as file, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as mapped:
        assert bytes(mapped) == content
        assert resident_kb(tmp_path) >= 4096
        forget_mapped_pages([tmp_path])
        assert resident_kb(tmp_path) == 0
        assert bytes(mapped) == content


@linux
def test_an_openvino_stage_holds_its_weights_once(mini_openvino, tmp_path: Path):
    """And so it does when it comes from the cache; what it computes is the same."""
    bundle = open_bundle(mini_openvino("fp32"))
    backend = backend_named("openvino")
    results = []
    for _ in range(2):
        session = backend.open(bundle, "image_encoder", SessionOptions())
        size_kb = (bundle.path / "image_encoder" / "image_encoder.bin").stat().st_size / 1024
        assert resident_kb(bundle.path) + resident_kb(tmp_path) < 0.1 * size_kb
        feeds = {spec.name: np.ones(spec.shape, np.float32) for spec in session.inputs}
        results.append(session.run(feeds)["image_features"])
        session.close()
    np.testing.assert_array_equal(*results)
