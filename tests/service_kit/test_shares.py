"""How something limited is shared."""

from service_kit.process.shares import Shares


def test_one_caller_has_three_quarters_and_all_have_the_rest() -> None:
    shares = Shares(100)

    assert sum(shares.take("greedy") for _ in range(100)) == 75
    assert sum(shares.take("second") for _ in range(100)) == 25
    assert not shares.take("third")

    shares.give_back("greedy", 70)
    assert shares.take("third", 30)
    assert shares.taken == 60


def test_while_others_have_theirs_a_caller_has_a_quarter() -> None:
    shares = Shares(100)
    for name in ("one", "two", "three"):
        assert shares.take(name, 25)

    assert not shares.take("one")
    assert shares.take("four", 25)
    assert not shares.take("four")


def test_all_of_it_or_nothing_is_taken() -> None:
    shares = Shares(100)

    assert not shares.take("one", 76)
    assert shares.taken == 0
    assert shares.take("one", 75)


def test_who_has_nothing_left_takes_no_memory() -> None:
    shares = Shares(4)
    for number in range(1000):
        assert shares.take(number)
        shares.give_back(number)

    assert (shares.taken, shares._of) == (0, {})
