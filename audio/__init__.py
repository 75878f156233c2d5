"""Sound to numbers and back; knows nothing of faces or frames."""
