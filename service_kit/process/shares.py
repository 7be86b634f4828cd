"""Shares of something limited, so that one caller cannot take all of it."""

from collections.abc import Hashable


class Shares:
    """How much of something limited is taken, in all and by each caller.

    Each caller may have a quarter, and more while another quarter stays free for the others.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self.taken = 0
        self._of: dict[Hashable, int] = {}

    def take(self, caller: Hashable, number: int = 1) -> bool:
        """Take some for a caller. Returns False, and takes nothing, where it may have no more."""
        quarter = self.most // 4
        reserved = quarter if self._of.get(caller, 0) + number > quarter else 0
        if self.taken + number > self.most - reserved:
            return False
        self.add(caller, number)
        return True

    def add(self, caller: Hashable, number: int = 1) -> None:
        """Take some without asking whether there is any."""
        self.taken += number
        self._of[caller] = self._of.get(caller, 0) + number

    def give_back(self, caller: Hashable, number: int = 1) -> None:
        self.taken -= number
        left = self._of[caller] - number
        if left:
            self._of[caller] = left
        else:
            del self._of[caller]
