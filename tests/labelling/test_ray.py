"""Labelling on a Ray cluster, of which a machine is lost."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from edgedepth.crew import CrewOptions
from edgedepth.labelling import label

from .conftest import encoded
from .test_label import rows

# Slow: each node is a set of processes, each actor loads a model.
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]  # Ray's own: sockets and files left open


@pytest.fixture
def cluster() -> Iterator[Any]:
    """Two nodes of one core."""
    ray = pytest.importorskip("ray", reason="Ray (the extra ray) makes the cluster")
    utilities = pytest.importorskip("ray.cluster_utils", reason="Ray (the extra ray) makes the cluster")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made = utilities.Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "object_store_memory": 100 << 20})
        made.second = made.add_node(num_cpus=1, object_store_memory=100 << 20)
        ray.init(address=made.address, log_to_driver=False)
        yield made
        ray.shutdown()
        made.shutdown()


@pytest.mark.timeout(540)
def test_a_lost_machine_costs_no_frame_and_gives_none_twice(
    cluster: Any, photos: Path, bundle: Path, tmp_path: Path
) -> None:
    for seed in range(100, 160):
        (photos / f"{seed}.png").write_bytes(encoded(seed))
    lost: list[str] = []

    def lose_one(step: str, done: int, total: int) -> None:
        if done == 10 and not lost:
            lost.append(cluster.second.node_id)
            cluster.remove_node(cluster.second, allow_graceful=False)

    out = tmp_path / "labels"
    summary = label([str(photos)], bundle=bundle, out=out, crew=CrewOptions(workers=2, engine="ray"), progress=lose_one)
    assert lost
    assert (summary.frames, summary.labelled, summary.duplicates, summary.failed) == (65, 63, 1, 1)
    assert len({str(row["name"]) for row in rows(out)}) == len(rows(out)) == 65
    assert len(list((out / "depth").rglob("*.png"))) == 63
