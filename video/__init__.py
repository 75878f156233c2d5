"""Pixels to files and back; knows nothing of faces or speech."""
