"""What answers requests: the application, who may ask, problems, pages, documentation."""
