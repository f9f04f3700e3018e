"""Meters add up what sources tell, and facts name what makes another machine."""

from __future__ import annotations

import sys
import time

import pytest

from edgedepth.machine.facts import MachineState, changes, differences, machine_facts, machine_state
from edgedepth.machine.meters import Meters, PollMeter, RaplMeter, StreamMeter


def test_rapl_goes_on_where_its_counter_begins_anew() -> None:
    counted = iter([90.0, 95.0, 2.0])
    meter = RaplMeter(lambda: {"package-0": (next(counted), 100.0)})
    assert meter.joules() == pytest.approx(5)
    assert meter.joules() == pytest.approx(12)  # 5 more to the end, 2 from the beginning


def wait_for(meter: StreamMeter | PollMeter, joules: float) -> float:
    deadline = time.perf_counter() + 20
    while (counted := meter.joules()) < joules and time.perf_counter() < deadline:
        time.sleep(0.01)
    return counted


def test_a_constant_power_is_energy_over_time() -> None:
    meter = PollMeter("constant", lambda: 50.0)
    start, before = time.perf_counter(), meter.joules()
    after = wait_for(meter, before + 5)
    assert after - before == pytest.approx(50 * (time.perf_counter() - start), rel=0.1)
    meter.close()


def test_a_program_that_prints_power_is_read_and_stopped() -> None:
    program = "import time\nwhile True:\n print('VDD_IN 5000mW/5000mW', flush=True)\n time.sleep(0.01)"
    from edgedepth.machine.meters import _tegrastats_w

    meter = StreamMeter("tegrastats", [sys.executable, "-c", program], _tegrastats_w)
    assert wait_for(meter, 0.1) >= 0.1
    meter.close()
    meter.close()


def test_no_meters_tell_nothing_and_not_zero() -> None:
    with Meters() as meters:
        assert meters.joules() is None
        assert meters.names == ""


def test_another_power_mode_is_another_machine_and_another_python_is_not() -> None:
    orin = {"soc": "Orin", "power_mode": "MAXN (0)", "python": "3.10"}
    assert differences(orin, orin | {"python": "3.12"}) == []
    assert differences(orin, orin | {"power_mode": "15W (2)"}) == ["power_mode: MAXN (0) and 15W (2)"]
    assert differences(orin, orin | {"gpu": "RTX"}) == ["gpu: not told and RTX"]


def test_changes_name_throttling() -> None:
    before = MachineState(temperature_c=41, throttle_count=3)
    after = MachineState(temperature_c=90.4, throttle_count=5, throttled=("RTX: power cap",))
    assert changes(before, after) == {
        "temperature_c": "41 → 90",
        "throttled": "RTX: power cap; cores were held back by heat 2 times",
    }
    assert changes(MachineState(), MachineState()) == {}


def test_this_machine_is_told() -> None:
    facts = machine_facts()
    assert {"cpu", "cores", "system", "python"} <= set(facts)
    assert all(isinstance(value, str) and value for value in facts.values())
    assert isinstance(machine_state(), MachineState)
