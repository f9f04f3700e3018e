"""edgedepth: monocular metric depth on the edge, with proof."""

__version__ = "0.1.0"
