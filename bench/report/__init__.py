"""The results of a run: as a table, as plots, and compared with the previous run."""
