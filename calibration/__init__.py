"""Calibration sets, and what INT8 is made and measured with."""
