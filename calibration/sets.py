"""Calibration sets: frames on disk that INT8 is made of and measured on, in the same order every time.

A set is a folder: calibration.json, frames/NNNNN.png and, where the truth is known, depth/NNNNN.npz. Frames are kept
as their source has them; how a model takes them is named, and done when they are used.
"""

from edgedepth.calibration.set_builder import build_calibration_set
from edgedepth.calibration.stored_set import CalibrationSet, open_calibration_set

__all__ = ["CalibrationSet", "build_calibration_set", "open_calibration_set"]
