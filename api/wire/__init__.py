"""Wire formats: events to bytes, one format a file, pure.

A new format is a class in a file of its own here that meets `format.Format`, one object of it, and the route that names
the object. The fan-out needs no change: it replays the log for a format with state, and shares the bytes of all.
"""
