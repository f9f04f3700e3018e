"""One arena for what ONNX Runtime's sessions on the CPU compute: stages run in turn and use the same memory.

Without an arena each tensor of 1 to 30 MB is allocated and freed in glibc's heap for every operation: its pages are
given back and faulted in again (a quarter of a small model's CPU time), and over thousands of frames the heap scatters
and creeps upwards. With an arena per session each stage keeps its own peak.

An application's sessions that use onnxruntime's environment allocators share it too. Where it registers one itself,
sessions opened after take the last one (onnxruntime 1.32) or the first (1.18).

Source: onnxruntime's C API, CreateAndRegisterAllocator, and its session and run options session.use_env_allocators and
memory.enable_memory_arena_shrinkage.
"""

from __future__ import annotations

import os
import threading
from typing import Any

import numpy as np

__all__ = ["shrink_arena", "use_shared_arena"]

_CONFIG = {
    "max_mem": 0,  # this and -1: as onnxruntime likes
    "arena_extend_strategy": 1,  # a new region is as large as what is asked for, and no power of two
    "initial_chunk_size_bytes": -1,
    "max_dead_bytes_per_chunk": -1,
}

_IDENTITY = (
    b'\x08\x08:7\n\x10\n\x01x\x12\x01y"\x08Identity\x12\x01gZ\x0f\n\x01x\x12\n\n\x08\x08\x01\x12\x04\n\x02\x08\x01'
    b"b\x0f\n\x01y\x12\n\n\x08\x08\x01\x12\x04\n\x02\x08\x01B\x04\n\x00\x10\x11"
)
"""An ONNX graph of one node, y = x, one float32 (IR 8, opset 17): an arena is shrunk at the end of a run alone."""

_lock = threading.Lock()
_registered: list[Any] = []
"""The module onnxruntime, once it has the arena: for as long as the process lives."""


def use_shared_arena(ort: Any, options: Any) -> None:
    """Let a session that will run on the CPU take its memory from the process's arena.

    Args:
        ort: the module onnxruntime.
        options: its SessionOptions; changed.
    """
    _register(ort)
    options.enable_cpu_mem_arena = True
    options.add_session_config_entry("session.use_env_allocators", "1")
    # A pattern takes a session's whole peak in one block beside those that the other sessions have left.
    options.enable_mem_pattern = False


def shrink_arena() -> None:
    """Free what the arena keeps and nobody uses: after a session was closed. Milliseconds; 0.1 s where it was GB."""
    if not _registered:
        return
    ort = _registered[0]
    options, run = ort.SessionOptions(), ort.RunOptions()
    use_shared_arena(ort, options)
    options.intra_op_num_threads = 1
    run.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")
    session = ort.InferenceSession(_IDENTITY, options, providers=["CPUExecutionProvider"])
    x, y = np.zeros(1, np.float32), np.empty(1, np.float32)
    binding = session.io_binding()  # without it the result would lie in the arena, and hold what is to be freed
    binding.bind_input("x", "cpu", 0, np.float32, x.shape, x.ctypes.data)
    binding.bind_output("y", "cpu", 0, np.float32, y.shape, y.ctypes.data)
    session.run_with_iobinding(binding, run)


def _begin_anew() -> None:
    """In a fork, an arena of its own: a thread of the parent may have held the lock of the arena, or ours."""
    _registered.clear()
    if _lock.locked():
        _lock.release()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_anew)


def _register(ort: Any) -> None:
    with _lock:
        if _registered:
            return
        where = ort.OrtMemoryInfo("Cpu", ort.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, ort.OrtMemType.DEFAULT)
        try:
            ort.create_and_register_allocator(where, ort.OrtArenaCfg(_CONFIG))
        except Exception as error:  # onnxruntime's exceptions have no common base of their own
            if "already been registered" not in str(error):  # 1.18 keeps the first one, which serves as well
                raise
        _registered.append(ort)
