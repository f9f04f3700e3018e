"""Calibration sets and INT8. Nothing is built yet."""
