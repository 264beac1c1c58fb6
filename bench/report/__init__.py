"""What a run found, as a table, as plots, and beside the run before."""
