"""Runs .mlpackage programs on any machine, to prove them where Core ML isn't: parsing, checking, numpy arithmetic."""

from edgedepth.verify.mil.constants import changed_constants
from edgedepth.verify.mil.package import load_package
from edgedepth.verify.mil.program import MilProgram

__all__ = ["MilProgram", "changed_constants", "load_package"]
