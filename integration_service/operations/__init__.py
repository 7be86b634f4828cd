"""What operators see and steer: status, pause, metrics, and the commands' output."""
