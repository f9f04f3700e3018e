from __future__ import annotations

import numpy as np
import pytest

from edgedepth.core.errors import StageError
from edgedepth.core.session import Session
from edgedepth.programs.fake_session import FakeSession, fake_compute, with_tile_batch


def tiles(count: int = 3) -> np.ndarray:
    return np.random.default_rng(3).random((count, 3, 128, 128), dtype=np.float32)


@pytest.fixture
def session(staged):
    return FakeSession(staged.stage("patch_encoder"))


def test_is_a_session(session):
    assert isinstance(session, Session)


def test_features_are_the_means_of_their_patches(session):
    batch = tiles()
    features = session.run({"tiles": batch})["features"]
    patch = batch[1, :, 16:32, 48:64]
    assert features.shape == (3, 8, 8, 6)
    assert features[1, 1, 3].mean() == pytest.approx(patch.mean(), rel=1e-6)  # float32 sums in another order


def test_out_receives_the_results(session):
    batch = tiles()
    out = np.empty((3, 8, 8, 6), np.float32)
    outputs = session.run({"tiles": batch}, {"latent0": out})
    assert outputs["latent0"] is out
    np.testing.assert_array_equal(out, fake_compute(session.stage, {"tiles": batch})["latent0"])
    assert sorted(outputs) == ["features", "latent0", "latent1"]
    assert session.batches == [3]


def test_wrong_calls_are_refused(session):
    batch = tiles()
    wrong = [
        ({}, None),
        ({"tiles": batch, "more": batch}, None),
        ({"tile": batch}, None),
        ({"tiles": batch.astype(np.float64)}, None),
        ({"tiles": batch[..., :64]}, None),
        ({"tiles": batch[0]}, None),
        ({"tiles": batch}, {"unknown": batch}),
        ({"tiles": batch}, {"latent0": np.empty((2, 8, 8, 6), np.float32)}),
        ({"tiles": batch}, {"latent0": np.empty((3, 8, 8, 6))}),
        ({"tiles": batch}, {"latent0": np.empty((6, 8, 8, 3), np.float32).T}),
    ]
    for feeds, out in wrong:
        with pytest.raises(StageError):
            session.run(feeds, out)


def test_a_fixed_batch_is_demanded(staged):
    session = FakeSession(with_tile_batch(staged.stage("patch_encoder"), 2))
    assert session.run({"tiles": tiles(2)})["features"].shape[0] == 2
    with pytest.raises(StageError, match="tiles"):
        session.run({"tiles": tiles(3)})


def test_closed_means_closed(session):
    session.close()
    session.close()
    with pytest.raises(StageError, match="closed"):
        session.run({"tiles": tiles()})
