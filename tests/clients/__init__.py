"""The clients of other protocols, as they are installed, against the whole stack."""
