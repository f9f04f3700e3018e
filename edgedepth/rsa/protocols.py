"""What RSA's evaluation does beyond a data set's own protocol: KITTI's pictures are cropped before they are seen.

Source: RSA's published code, which is that of github.com/cleinc/bts: the "KB crop" of 352 x 1216 pixels, bottom centre.
Ranges and the crops of Garg and Eigen are the data sets' (edgedepth.datasets): NYUv2 and SUN RGB-D 1 mm to 10 m, KITTI
1 mm to 80 m, VOID 0.2 to 5 m. No figure is scaled by the truth but where a row's name says so.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from edgedepth.core.errors import SampleError
from edgedepth.datasets.base import DataSet, Sample

__all__ = ["as_rsa_sees", "range_m"]

_KB_CROP = (352, 1216)
_MIN_DEPTH_M = 1e-3
_MAX_DEPTH_M = 80.0


def as_rsa_sees(data_set: DataSet, sample: Sample) -> Sample:
    """The sample with the crop of RSA's code, and nothing valid that is out of range.

    Raises:
        SampleError: no valid depth is left.
    """
    nearest_m, farthest_m = range_m(data_set)
    counted = sample.valid & (sample.depth_m >= nearest_m) & (sample.depth_m <= farthest_m)
    if not counted.any():
        raise SampleError(
            f"{sample.name} has no valid depth from {nearest_m:g} to {farthest_m:g} m", remedy="leave it out"
        )
    sample = replace(sample, valid=counted)
    height, width = _KB_CROP
    size = sample.image.shape[:2]
    if data_set.name != "kitti" or size[0] < height or size[1] < width:
        return sample
    top, left = size[0] - height, (size[1] - width) // 2
    window = np.s_[top : top + height, left : left + width]
    return replace(
        sample,
        image=np.ascontiguousarray(sample.image[window]),
        depth_m=np.ascontiguousarray(sample.depth_m[window]),
        valid=np.ascontiguousarray(sample.valid[window]),
        mask=None if sample.mask is None else np.ascontiguousarray(sample.mask[window]),
    )


def range_m(data_set: DataSet) -> tuple[float, float]:
    """What predictions are cut to, in m: the set's largest depth, and RSA's smallest."""
    return (0.2 if data_set.name == "void" else _MIN_DEPTH_M), data_set.max_depth_m or _MAX_DEPTH_M
