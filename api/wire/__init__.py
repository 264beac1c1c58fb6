"""Wire formats: events to bytes, one format a file, pure.

A new format is a class in a file of its own here that meets `format.Format`, one object of it, and the route that names
the object. The fan-out needs no change: it shares the bytes of each format, and replays the log for one with state.
"""
