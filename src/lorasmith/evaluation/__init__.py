"""Does the adapter work? Measured from pictures, with intervals."""
