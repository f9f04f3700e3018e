"""Cameras: their intrinsics, the files that hold them, undistortion, and pixels as points in space."""
