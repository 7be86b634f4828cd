"""What is measured, a module each; `measure` yields the comparisons as they are found."""
