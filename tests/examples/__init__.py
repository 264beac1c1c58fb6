"""Every file of /examples runs against a real stack."""
