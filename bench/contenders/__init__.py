"""Whom readalong is measured against, each started and published to in its own way."""
