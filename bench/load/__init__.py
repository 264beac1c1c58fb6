"""The load: the model and the clients."""
