"""The two far sides, and what their failures mean."""
