"""A module that cannot be imported, for an error that must not repeat its words."""

raise ValueError("sk-of-another-vendor-0123456789")
