"""What a measurement tells of its machine is there, whatever the machine tells of itself."""

from __future__ import annotations

import platform

import pytest

from edgedepth.core.environment import cpu_name, describe_machine, versions_of


def test_every_fact_is_a_text_that_is_not_empty() -> None:
    facts = describe_machine()
    assert {"cpu", "cores", "system", "python"} <= set(facts)
    assert all(isinstance(value, str) and value.strip() for value in facts.values())
    assert int(facts["cores"]) >= 1


def test_a_processor_without_a_name(monkeypatch: pytest.MonkeyPatch) -> None:
    # ARM boards have no "model name" in /proc/cpuinfo, and platform.processor() is often empty.
    monkeypatch.setattr("pathlib.Path.is_file", lambda path: False)
    monkeypatch.setattr(platform, "processor", lambda: "")
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")
    assert cpu_name() == "aarch64"
    monkeypatch.setattr(platform, "machine", lambda: "")
    assert cpu_name() == "unknown"


def test_versions_of_what_is_installed() -> None:
    assert set(versions_of(["numpy", "no-such-package-here"])) == {"numpy"}
