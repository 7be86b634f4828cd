"""Sessions of the console, and the one-time links by which somebody without a token signs in."""
