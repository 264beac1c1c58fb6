"""The servers that readalong is compared with; each module starts one and publishes to it."""
