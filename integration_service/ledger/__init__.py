"""The lease, the fence, and the row that every process locks. Knows no other room."""
