"""The measurements, one file for what a row of the table shows."""
