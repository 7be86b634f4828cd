"""What runs a service: its command line, settings, logs, figures, health and its end."""
