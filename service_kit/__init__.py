"""What all three services need in the same way, and no word about what any of them is for."""

VERSION = "0.4.0"
