"""One module a command. Its function's signature and docstring are the command's options and help."""
