"""Tickets: their life, their deadlines, what was said and what was changed."""
