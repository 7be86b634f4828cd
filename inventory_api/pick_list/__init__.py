"""What the warehouse has to do: goods to take from the shelf, and boxes to empty."""
