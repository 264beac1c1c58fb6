"""What loads them: the model, and the clients."""
