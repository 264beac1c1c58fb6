"""The measured processes, and what is read off them."""
