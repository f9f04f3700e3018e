"""Many callers of one model: threads, processes, an event loop; and what refuses to travel."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import pickle
import subprocess
import sys
import textwrap
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from edgedepth.core.errors import EdgeDepthError, OptionError, StageError, UnsupportedError
from edgedepth.core.worker import GaveUpError, Worker, call_within
from edgedepth.fake_model import fake_depth
from edgedepth.pool import EdgeDepthPool
from edgedepth.programs.faulty_session import Fault

RNG = np.random.default_rng(11)
FRAMES = [RNG.integers(0, 255, (48, 64, 3), np.uint8) for _ in range(6)]


@pytest.mark.parametrize("reuse", [None, 0.0], ids=["fresh", "exact reuse"])
def test_eight_threads_get_what_one_would(reuse):
    model, _ = fake_depth()
    want = [model.infer(frame).depth for frame in FRAMES]
    with ThreadPoolExecutor(8) as threads:
        got = list(threads.map(lambda n: model.infer(FRAMES[n % 6], reuse=reuse).depth, range(24)))
    for number, depth in enumerate(got):
        assert np.array_equal(depth, want[number % 6])
    model.close()


def test_a_pool_runs_several_at_once():
    inside = threading.Barrier(2, timeout=20)
    pool = EdgeDepthPool.__new__(EdgeDepthPool)  # of fakes, which EdgeDepth's options can't name
    models = [fake_depth()[0] for _ in range(2)]
    from contextlib import ExitStack
    from queue import SimpleQueue

    pool._idle, pool._closed, pool._stack = SimpleQueue(), False, ExitStack()
    for model in models:
        pool._stack.enter_context(model)
        pool._idle.put(model)

    def work(number):
        with pool.borrow() as model:
            inside.wait()  # passes only if two are inside
            return model.infer(FRAMES[number]).depth

    with ThreadPoolExecutor(2) as threads:
        depths = list(threads.map(work, range(2)))
    assert np.array_equal(depths[1], pool.infer(FRAMES[1]).depth)
    pool.close()
    pool.close()
    with pytest.raises(StageError, match="closed"):
        pool.infer(FRAMES[0])
    with pytest.raises(OptionError, match="size is 0"):
        EdgeDepthPool(0)


def test_a_pool_of_bundles(mini_bundle):
    with EdgeDepthPool(2, mini_bundle, self_test="never") as pool:
        assert pool.infer(FRAMES[0]).depth.shape == (48, 64)


def test_awaited():
    model, _ = fake_depth(Fault("decoder", 1, "slow", 0.3))

    async def both():
        ticks = 0

        async def tick():
            nonlocal ticks
            while True:
                ticks += 1
                await asyncio.sleep(0.01)

        ticking = asyncio.create_task(tick())
        results = await asyncio.gather(*(model.ainfer(frame, focal_px=60.0) for frame in FRAMES[:3]))
        ticking.cancel()
        return results, ticks

    results, ticks = asyncio.run(both())
    assert ticks > 5  # the loop went on meanwhile
    for frame, result in zip(FRAMES, results, strict=False):
        assert np.array_equal(result.depth, model.infer(frame, focal_px=60.0).depth)
    model.close()


def test_it_refuses_to_be_pickled():
    model, _ = fake_depth()
    with pytest.raises(UnsupportedError, match="can't be pickled") as caught:
        pickle.dumps(model)
    assert "bundle's path" in caught.value.remedy
    with pytest.raises(UnsupportedError):  # what spawn does with its arguments
        multiprocessing.get_context("spawn").Process(target=print, args=(model,)).start()
    model.close()


FORK = """
    import os, numpy as np
    from edgedepth import EdgeDepth
    from edgedepth.core.errors import StageError
    model = EdgeDepth({bundle!r}, self_test="never")
    frame = np.zeros((32, 32, 3), np.uint8)
    model.infer(frame)
    if os.fork() == 0:
        try:
            model.infer(frame)
        except StageError as error:
            model.close()
            assert "fork" in str(error)
            os._exit(7)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.wait()[1]) == 7
    model.infer(frame)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_fork_is_told_and_the_parent_goes_on(mini_bundle):
    script = textwrap.dedent(FORK.format(bundle=str(mini_bundle)))
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", script], check=False, timeout=120, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("timeout_s", [0, -1, True, "3"])
def test_times_that_are_none(timeout_s):
    with pytest.raises(OptionError, match="timeout_s"):
        fake_depth(timeout_s=timeout_s)


def test_a_call_within_a_time():
    assert call_within(5, lambda: 3) == 3
    with pytest.raises(ValueError, match="own"):
        call_within(5, lambda: (_ for _ in ()).throw(ValueError("its own")))
    gate = threading.Event()
    with pytest.raises(GaveUpError):
        call_within(0.05, gate.wait)
    gate.set()
    with Worker("test") as worker:
        assert [worker.submit(pow, 2, n).result() for n in range(3)] == [1, 2, 4]


def test_a_hung_backend_doesnt_keep_the_process():
    script = """
        import threading, numpy as np
        from edgedepth.core.worker import GaveUpError, call_within
        try:
            call_within(0.1, threading.Event().wait)
        except GaveUpError:
            print("told")
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)], timeout=60, capture_output=True, text=True, check=True
    )
    assert done.stdout == "told\n"


LEFT_OPEN = """
    import numpy as np
    from edgedepth import EdgeDepth
    frame = np.zeros((240, 320, 3), np.uint8)
    print(next(EdgeDepth({bundle!r}, self_test="never").stream([frame] * 99)).stamp.index)
"""
HANGS = """
    import sys, threading
    from edgedepth.core.daemons import leave, start_daemon
    start_daemon(threading.Event().wait, name="hangs")
    sys.stdout.write("told")
    leave(3)
"""


@pytest.fixture(scope="module")
def openvino_bundle(mini_openvino):
    return mini_openvino("fp32")


def test_a_stream_that_is_left_open_ends_with_the_process(openvino_bundle):
    """Not waited for, OpenVINO's call comes back to an interpreter that is gone: SIGABRT, two times of three."""
    ended_with(LEFT_OPEN.format(bundle=str(openvino_bundle)), code=0, said="0\n")


def test_a_process_that_hangs_ends_with_its_code():
    ended_with(HANGS, code=3, said="told")


def ended_with(script, *, code, said):
    script = textwrap.dedent(script)
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", script], check=False, timeout=60, capture_output=True, text=True
    )
    assert (done.returncode, done.stdout) == (code, said), done.stderr


def test_errors_are_the_projects_own():
    assert issubclass(UnsupportedError, EdgeDepthError)
