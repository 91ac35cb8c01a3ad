"""Pictures of measurements: one file each, with `NEEDS`, the results that it draws, and `draw`."""
