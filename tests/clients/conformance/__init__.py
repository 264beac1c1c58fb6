"""The conformance list of the client libraries: a scripted server, its scenarios, and the Python runner.

`clients/conformance.md` lists the scenarios; each library has a runner that is a loop over them.
"""
