"""Files of a run: folders, checkpoints, what was kept of a failure."""
