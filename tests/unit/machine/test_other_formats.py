"""What macOS, NVIDIA's driver and Linux tell, as people recorded it. No Mac and no GPU was at hand to try it on."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgedepth.machine import linux
from edgedepth.machine.energy_counters import ina_power_w, rapl_joules
from edgedepth.machine.nvidia_smi import parse_gpu_state, parse_process_memory
from edgedepth.machine.pmset import parse_speed_limit
from edgedepth.machine.powermetrics import parse_powermetrics
from edgedepth.machine.system_profiler import parse_system_profiler

# Apple silicon: a recorded sample of `powermetrics --samplers thermal,cpu_power,gpu_power`, with clusters' lines as in
# github.com/joular/joularjx/issues/51.
APPLE = """*** Sampled system activity (Tue Nov 28 14:37:01 2023 +0100) (1006.50ms elapsed) ***

**** Processor usage ****

E-Cluster Online: 100%
E-Cluster HW active frequency: 1578 MHz
E-Cluster HW active residency:  68.75% (600 MHz:   0% 972 MHz:  19% 1332 MHz:  24% 1704 MHz:  28% 2064 MHz:  28%)
CPU 0 frequency: 1608 MHz
P0-Cluster Online: 100%
P0-Cluster HW active frequency: 3077 MHz

CPU Power: 372 mW
GPU Power: 46 mW
ANE Power: 0 mW
Combined Power (CPU + GPU + ANE): 418 mW


**** Thermal pressure ****

Current pressure level: Nominal

**** GPU usage ****

GPU HW active frequency: 338 MHz
GPU idle residency:  86.09%
GPU Power: 46 mW
"""


def test_powermetrics_of_apple_silicon() -> None:
    read = parse_powermetrics(APPLE)
    assert read.parts_mw == {"CPU": 372, "GPU": 46, "ANE": 0}
    assert read.total_mw == 418
    assert read.clocks_mhz == {"E-Cluster": 1578, "P0-Cluster": 3077, "GPU": 338}
    assert read.pressure == "Nominal"
    assert read.die_c is None


def test_powermetrics_of_an_intel_mac() -> None:
    # The line is quoted in joularjx's source (macOS 14.0), the sensors' in other people's tests of Intel Macs.
    read = parse_powermetrics(
        "Intel energy model derived package power (CPUs+GT+SA): 48.61W\n**** SMC sensors ****\n"
        "CPU die temperature: 52.39 C\n"
    )
    assert read.total_mw == 48610
    assert read.die_c == 52.39


def test_powermetrics_without_power_tells_none() -> None:
    assert parse_powermetrics("powermetrics must be invoked as the superuser\n").total_mw is None


# github.com/mondoohq/mql/issues/1380, with its identifiers changed.
OVERVIEW = """Hardware:

    Hardware Overview:

      Model Name: MacBook Pro
      Model Identifier: MacBookPro18,3
      Model Number: MKGQ3LL/A
      Chip: Apple M1 Pro
      Total Number of Cores: 10 (8 performance and 2 efficiency)
      Memory: 16 GB
      System Firmware Version: 8422.121.1
      OS Loader Version: 8422.121.1
      Serial Number (system): XXXXXXXXXX
      Hardware UUID: 00000000-0000-0000-0000-000000000000
      Provisioning UDID: 00000000-0000000000000000
      Activation Lock Status: Disabled
"""


def test_system_profiler_keeps_no_serial_number() -> None:
    facts = parse_system_profiler(OVERVIEW)
    assert facts == {
        "soc": "MacBookPro18,3",
        "cpu": "Apple M1 Pro",
        "cores_by_kind": "10 (8 performance and 2 efficiency)",
        "memory": "16 GB",
    }
    assert parse_system_profiler("") == {}


@pytest.mark.parametrize(
    ("text", "limit"),
    [
        # github.com/prometheus/node_exporter/issues/2031, and the throttled numbers of yujitach/MenuMeters/issues/158.
        (
            "Note: No thermal warning level has been recorded\n2021-05-02 11:51:57 +0800 CPU Power notify\n"
            "\tCPU_Scheduler_Limit \t= 100\n\tCPU_Available_CPUs \t= 12\n\tCPU_Speed_Limit \t= 100\n",
            100,
        ),
        ("\tCPU_Scheduler_Limit \t= 40\n\tCPU_Available_CPUs \t= 8\n\tCPU_Speed_Limit \t= 28\n", 28),
        # github.com/exelban/stats/issues/749: Apple silicon.
        ("Note: No CPU power status has been recorded\n", None),
    ],
)
def test_pmset(text: str, limit: int | None) -> None:
    assert parse_speed_limit(text) == limit


def test_nvidia_smi() -> None:
    # Values of github.com/Ricks-Lab/gpu-utils/issues/83, in the order of our query.
    state = parse_gpu_state("GeForce RTX 2080, 440.64, 7.5, 1965, 45, 176.98, 0x0000000000000004")
    assert state is not None
    assert (state.name, state.sm, state.clock_mhz, state.power_w) == ("GeForce RTX 2080", "7.5", 1965, 176.98)
    assert state.throttled == ("power cap",)
    unknown = parse_gpu_state("Orin (nvgpu), 540.4.0, 8.7, [N/A], [N/A], [N/A], [N/A]")
    assert unknown is not None
    assert unknown.power_w is unknown.clock_mhz is None
    assert unknown.throttled == ()
    assert parse_gpu_state("No devices were found") is None


def test_memory_by_process() -> None:
    text = "1234, 512\n99, 10\n1234, 256\n"
    assert parse_process_memory(text, 1234) == 768 * 2**20
    assert parse_process_memory(text, 1) is None
    assert parse_process_memory("1234, [N/A]\n", 1234) is None


def tree(root: Path, files: dict[str, str]) -> Path:
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(content)
    return root


def test_rapl_counts_packages_and_dram_once(tmp_path: Path) -> None:
    # The layout of Documentation/power/powercap/powercap.rst of the Linux kernel.
    zone = "sys/class/powercap/intel-rapl:0"
    files = {
        f"{zone}/name": "package-0\n",
        f"{zone}/energy_uj": "2500000\n",
        f"{zone}/max_energy_range_uj": "262143328850\n",
        f"{zone}:0/name": "core\n",
        f"{zone}:0/energy_uj": "2000000\n",
        f"{zone}:0/max_energy_range_uj": "262143328850\n",
        f"{zone}:1/name": "dram\n",
        f"{zone}:1/energy_uj": "500000\n",
        f"{zone}:1/max_energy_range_uj": "65712999613\n",
    }
    read = rapl_joules(tree(tmp_path, files))
    assert {name: joules for name, (joules, _) in read.items()} == {
        "intel-rapl:0 package-0": 2.5,
        "intel-rapl:0:1 dram": 0.5,
    }
    assert rapl_joules(tmp_path / "nowhere") == {}


def test_ina_takes_the_modules_rail(tmp_path: Path) -> None:
    # The layout of the kernel's ina3221 driver (Documentation/hwmon/ina3221.rst), labels of an Orin NX.
    monitor = "sys/bus/i2c/drivers/ina3221/1-0040/hwmon/hwmon3"
    files = {
        f"{monitor}/in1_label": "VDD_IN\n",
        f"{monitor}/in1_input": "5016\n",
        f"{monitor}/curr1_input": "1200\n",
        f"{monitor}/in2_label": "VDD_CPU_GPU_CV\n",
        f"{monitor}/in2_input": "5016\n",
        f"{monitor}/curr2_input": "400\n",
    }
    assert ina_power_w(tree(tmp_path, files)) == pytest.approx(5.016 * 1.2)
    (tmp_path / monitor / "in1_label").write_text("VDD_SOC\n")
    assert ina_power_w(tmp_path) == pytest.approx(5.016 * 1.6)
    assert ina_power_w(tmp_path / "nowhere") is None


def test_linux_tells_clocks_temperatures_and_throttling(tmp_path: Path) -> None:
    cpu = "sys/devices/system/cpu"
    files = {
        "proc/cpuinfo": "processor\t: 0\nflags\t\t: fpu sse avx2 avx512f amx_int8 rdpid\n",
        f"{cpu}/cpu0/cpufreq/scaling_cur_freq": "2400000\n",
        f"{cpu}/cpu1/cpufreq/scaling_cur_freq": "3600000\n",
        f"{cpu}/cpu0/thermal_throttle/core_throttle_count": "3\n",
        f"{cpu}/cpu1/thermal_throttle/core_throttle_count": "4\n",
        "sys/class/thermal/thermal_zone0/temp": "41000\n",
        "sys/class/thermal/thermal_zone1/temp": "63500\n",
        "sys/firmware/devicetree/base/model": "NVIDIA Jetson AGX Orin Developer Kit\0",
    }
    root = tree(tmp_path, files)
    assert linux.cpu_flags(root) == ("avx2", "avx512f", "amx_int8")
    assert linux.cpu_clock_mhz(root) == 3000
    assert linux.hottest_c(root) == 63.5
    assert linux.throttle_count(root) == 7
    assert linux.device_tree_model(root) == "NVIDIA Jetson AGX Orin Developer Kit"


def test_a_machine_that_tells_nothing(tmp_path: Path) -> None:
    assert linux.cpu_flags(tmp_path) == ()
    assert linux.cpu_clock_mhz(tmp_path) is linux.hottest_c(tmp_path) is linux.throttle_count(tmp_path) is None
    assert linux.device_tree_model(tmp_path) == ""
