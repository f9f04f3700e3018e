"""Data sets with true depth, as their publishers lay them out, read into one kind of sample."""

from __future__ import annotations

from edgedepth.datasets.base import DataSet, Sample
from edgedepth.datasets.layouts import LAYOUTS, open_dataset

__all__ = ["LAYOUTS", "DataSet", "Sample", "open_dataset"]
