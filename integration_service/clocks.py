"""How the loops ask for the time, so that a test can answer."""

from collections.abc import Callable
from datetime import datetime

Clock = Callable[[], datetime]
