"""Depth for large sets of frames, on one machine or many: each frame once, whatever is killed meanwhile."""

from edgedepth.labelling.labels import Label, LabelSummary
from edgedepth.labelling.run import label

__all__ = ["Label", "LabelSummary", "label"]
