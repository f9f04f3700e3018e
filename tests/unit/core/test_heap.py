"""Threads that share a heap, seen through glibc's own account of them."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

SCRIPT = """
import ctypes, sys, threading
from edgedepth.core.heap import share_one_heap
if sys.argv[1] == "shared":
    share_one_heap()
gate = threading.Barrier(5)
def work():
    held = [bytearray(3000) for _ in range(50)]
    gate.wait()
threads = [threading.Thread(target=work) for _ in range(4)]
for thread in threads:
    thread.start()
gate.wait()
for thread in threads:
    thread.join()
libc = ctypes.CDLL(None)
libc.fdopen.restype = ctypes.c_void_p
libc.malloc_info(0, ctypes.c_void_p(libc.fdopen(1, b"w")))
libc.fflush(None)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="heaps of glibc")
@pytest.mark.parametrize(("words", "heaps"), [("shared", 1), ("apart", 5)])
def test_threads_share_a_heap(words: str, heaps: int) -> None:
    env = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")}
    done = subprocess.run([sys.executable, "-c", SCRIPT, words], env=env, check=True, capture_output=True, text=True)
    if "<heap nr" not in done.stdout:
        pytest.skip("this C library doesn't tell its heaps")
    assert done.stdout.count("<heap nr") == heaps


SCATTERED = """
from pathlib import Path
from edgedepth.core.heap import give_back
def rss_mb():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 1e6
held = [bytearray(3000) for _ in range(20_000)]
last = held[-1]  # at the heap's end: what is before it stays with the process
del held
before = rss_mb()
give_back()
print(before - rss_mb())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="heaps of glibc")
def test_what_is_free_between_what_is_held_goes_back() -> None:
    env = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")}
    done = subprocess.run([sys.executable, "-c", SCATTERED], env=env, check=True, capture_output=True, text=True)
    assert float(done.stdout) > 50  # of 60 MB
