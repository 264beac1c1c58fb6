"""A module that cannot be imported, whose message no error may repeat."""

raise ValueError("sk-of-another-vendor-0123456789")
