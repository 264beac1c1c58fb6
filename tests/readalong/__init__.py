"""Tests of what the API and the workers share."""
