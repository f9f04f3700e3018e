"""What a Jetson's programs print, as people recorded it. None of it could be tried on a Jetson here."""

from __future__ import annotations

import pytest

from edgedepth.machine.jetson_release import parse_jetson_release, parse_tegra_release
from edgedepth.machine.nvpmodel import parse_power_mode
from edgedepth.machine.tegrastats import parse_tegrastats

# github.com/GDWR/jetson_exporter/issues/14: AGX Orin 64 GB, JetPack 6. CV0 and GPU are switched off, and read -256 °C.
AGX_ORIN = (
    "04-11-2025 10:36:27 RAM 4321/62801MB (lfb 1759x4MB) SWAP 19/31400MB (cached 0MB) CPU [0%@729,0%@729,0%@729,0%@729,"
    "0%@729,0%@729,0%@729,0%@729,0%@729,0%@729,0%@729,0%@729] EMC_FREQ 0%@2133 GR3D_FREQ 0%@[0,0] VIC_FREQ 729 APE 174 "
    "CV0@-256C CPU@44.562C Tboard@32C SOC2@40.093C Tdiode@33C SOC0@41.093C CV1@-256C GPU@-256C tj@44.343C SOC1@41.25C "
    "CV2@-256C VDD_GPU_SOC 2340mW/2340mW VDD_CPU_CV 390mW/390mW VIN_SYS_5V0 4025mW/4025mW NC 0mW/0mW "
    "VDDQ_VDD2_1V8AO 301mW/301mW NC 0mW/0mW"
)
# github.com/DataDog/datadog-agent, its tests of tegrastats: Nano, TX1, TX2 and AGX Xavier.
NANO = (
    "RAM 613/3964MB (lfb 634x4MB) SWAP 0/1982MB (cached 0MB) CPU [2%@102,1%@102,0%@102,0%@102] EMC_FREQ 0% "
    "GR3D_FREQ 0% PLL@39C CPU@40.5C PMIC@100C GPU@41C AO@46C thermal@41C POM_5V_IN 900/943 POM_5V_GPU 0/0 "
    "POM_5V_CPU 123/123"
)
TX1 = (
    "RAM 1179/3983MB (lfb 120x4MB) IRAM 0/252kB(lfb 252kB) CPU [1%@102,4%@102,0%@102,0%@102] EMC_FREQ 7%@408 "
    "GR3D_FREQ 0%@76 APE 25 AO@42.5C CPU@37.5C GPU@39C PLL@37C Tdiode@42.75C PMIC@100C Tboard@42C thermal@38.5C "
    "VDD_IN 2532/2698 VDD_CPU 76/178 VDD_GPU 19/19"
)
TX2 = (
    "RAM 1345/7829MB (lfb 1290x4MB) SWAP 0/512MB (cached 0MB) CPU [2%@345,off,off,off,off,off] EMC_FREQ 13%@40 "
    "GR3D_FREQ 0%@114 APE 150 BCPU@35C MCPU@35C GPU@41C PLL@35C AO@35.5C Tboard@35C Tdiode@36C PMIC@100C thermal@35.5C "
    "VDD_IN 2003/2658 VDD_CPU 320/518 VDD_GPU 400/735 VDD_SOC 400/415 VDD_WIFI 0/0 VDD_DDR 240/348"
)
AGX_XAVIER = (
    "RAM 1903/15692MB (lfb 3251x4MB) CPU [1%@1190,1%@1190,2%@1190,0%@1190,0%@1190,0%@1190,0%@1190,0%@1190] EMC_FREQ 0% "
    "GR3D_FREQ 0% AO@32.5C GPU@32C Tboard@32C Tdiode@34.75C AUX@31.5C CPU@33.5C thermal@32.9C PMIC@100C GPU 0/0 "
    "CPU 216/216 SOC 864/864 CV 0/0 VDDRQ 144/144 SYS5V 1889/1889"
)


@pytest.mark.parametrize(
    ("line", "ram_mb", "cores", "gpu", "total_mw"),
    [
        (AGX_ORIN, (4321, 62801), 12, (0, 0), 2340 + 390 + 4025 + 301),
        (NANO, (613, 3964), 4, (0, None), 900),
        (TX1, (1179, 3983), 4, (0, 76), 2532),
        (TX2, (1345, 7829), 1, (0, 114), 2003),
        (AGX_XAVIER, (1903, 15692), 8, (0, None), 216 + 864 + 144 + 1889),
    ],
    ids=["AGX Orin", "Nano", "TX1", "TX2", "AGX Xavier"],
)
def test_tegrastats_of_five_boards(
    line: str, ram_mb: tuple[int, int], cores: int, gpu: tuple[int, int | None], total_mw: int
) -> None:
    read = parse_tegrastats(line)
    assert (read.ram_used_mb, read.ram_total_mb) == ram_mb
    assert len(read.cpu_percent) == len(read.cpu_mhz) == cores
    assert (read.gpu_percent, read.gpu_mhz) == gpu
    assert read.total_mw == total_mw
    assert not {"RAM", "SWAP", "NC"} & set(read.rails_mw)


def test_sensors_that_are_switched_off_are_no_temperatures() -> None:
    temperatures = parse_tegrastats(AGX_ORIN).temperatures_c
    assert "GPU" not in temperatures
    assert temperatures["tj"] == 44.343


def test_other_text_is_nothing() -> None:
    read = parse_tegrastats("tegrastats: command not found")
    assert read.total_mw is read.ram_used_mb is read.gpu_percent is None
    assert read.temperatures_c == {}


@pytest.mark.parametrize(
    ("text", "mode"),
    [
        # github.com/anduril/jetpack-nixos/pull/460: Thor, JetPack 7.
        ("NV Power Mode: MAXN\n0\n", "MAXN (0)"),
        # docs of ZDMA: AGX Xavier, JetPack 4.
        ("NV Fan Mode:cool\nNV Power Mode: MODE_15W_2CORE\n0\n", "MODE_15W_2CORE (0)"),
        # An AGX Xavier whose nvpmodel was asked without root.
        (
            "NV Fan Mode:quiet\nNV Power Mode: MODE_15W_DESKTOP\n7\n"
            "NVPM ERROR: Error opening /sys/kernel/nvpmodel_emc_cap/emc_iso_cap: 13\n",
            "MODE_15W_DESKTOP (7)",
        ),
        # nvpmodel -q --verbose on an AGX Xavier.
        (
            "NVPM VERB: Config file: /etc/nvpmodel.conf\nNV Fan Mode:quiet\n"
            "NVPM VERB: Current mode: NV Power Mode: MODE_15W_6CORE\n2\nNVPM VERB: PARAM CPU_ONLINE: ARG CORE_0\n",
            "MODE_15W_6CORE (2)",
        ),
        ("NVPM ERROR: optMask is 1, no request for power mode\n", None),
        ("", None),
    ],
)
def test_nvpmodel(text: str, mode: str | None) -> None:
    assert parse_power_mode(text) == mode


# github.com/rbonghi/jetson_stats/issues/603.
RELEASE = """Software part of jetson-stats 4.3.0 - (c) 2024, Raffaello Bonghi
Jetpack missing!
 - Model: NVIDIA Jetson Orin NX Engineering Reference Developer Kit
 - L4T: 36.4.3
NV Power Mode[2]: 15W
Serial Number: [XXX Show with: jetson_release -s XXX]
Hardware:
 - P-Number: p3767-0001
 - Module: NVIDIA Jetson Orin NX (8GB ram)
Platform:
 - Distribution: Ubuntu 22.04 Jammy Jellyfish
 - Release: 5.15.148-tegra
jtop:
 - Version: 4.3.0
 - Service: Active
Libraries:
 - CUDA: 12.6.68
 - cuDNN: 9.3.0.75
 - TensorRT: 10.3.0.30
 - VPI: 3.2.4
 - Vulkan: 1.3.204
 - OpenCV: 4.8.0 - with CUDA: NO
"""


def test_jetson_release_that_does_not_know_its_jetpack() -> None:
    assert parse_jetson_release(RELEASE) == {
        "soc": "NVIDIA Jetson Orin NX Engineering Reference Developer Kit",
        "module": "NVIDIA Jetson Orin NX (8GB ram)",
        "l4t": "36.4.3",
        "power_mode": "15W (2)",
        "cuda": "12.6.68",
        "cudnn": "9.3.0.75",
        "tensorrt": "10.3.0.30",
    }


def test_jetson_release_that_knows_it_and_prints_in_colours() -> None:
    coloured = RELEASE.replace("Jetpack missing!", "\x1b[1mJetpack 6.2\x1b[0m [L4T 36.4.3]")
    assert parse_jetson_release(coloured)["jetpack"] == "6.2"


@pytest.mark.parametrize(
    ("text", "version"),
    [
        # github.com/rbonghi/jetson_stats/issues/864: AGX Orin, L4T 39.2.
        (
            "# R39 (release), REVISION: 2.0, GCID: 45755727, BOARD: generic, EABI: aarch64, "
            "DATE: Mon Jun  1 09:28:48 PM UTC 2026",
            "39.2.0",
        ),
        ("something else", None),
    ],
)
def test_nv_tegra_release(text: str, version: str | None) -> None:
    assert parse_tegra_release(text) == version
