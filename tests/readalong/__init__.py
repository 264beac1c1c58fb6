"""Tests of the code that the API and the workers share."""
