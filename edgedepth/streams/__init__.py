"""Streams: where frames come from, how they pass through in order, and how depth is written as video."""
