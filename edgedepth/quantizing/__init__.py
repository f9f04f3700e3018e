"""INT8 bundles: made on a calibration set, measured on the part of it that was held back, refused if they can't do."""
