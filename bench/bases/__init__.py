"""What people would use instead, written as well as its own documentation shows."""
