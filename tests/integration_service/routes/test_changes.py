"""What is new, gone, or may not be, when a file of routes takes the place of another."""

from integration_service.routes.changes import Identity, changes, identity_of
from integration_service.routes.definitions import WELCOME, WebhookRoute

GIFT = Identity("welcome-package", "inventory", "none", "welcome_package")
SHOP = Identity("web-shop", "webhook", "none", None)


def test_a_route_is_known_by_what_may_not_change() -> None:
    shop = WebhookRoute(
        name="web-shop", on=("ticket.*",), url="http://shop", secrets=("S",), order="subject"
    )

    assert identity_of(WELCOME) == GIFT
    assert identity_of(shop) == SHOP._replace(order="subject")


def test_the_same_routes_in_another_order_are_no_change() -> None:
    assert changes([GIFT, SHOP], [SHOP, GIFT]) == ((), (), ())


def test_names_that_came_and_went_are_told_in_order() -> None:
    found = changes([SHOP, GIFT], [SHOP._replace(name="b"), SHOP._replace(name="a"), GIFT])

    assert (found.new, found.gone, found.forbidden) == (("a", "b"), ("web-shop",), ())


def test_each_change_that_may_not_be_is_told() -> None:
    moved = GIFT._replace(target="webhook", order="subject", package_type=None)

    found = changes([GIFT, SHOP], [moved, SHOP._replace(order="subject")])

    assert (found.new, found.gone) == ((), ())
    assert [(one.name, one.key) for one in found.forbidden] == [
        ("web-shop", "order"),
        ("welcome-package", "target"),
        ("welcome-package", "order"),
        ("welcome-package", "package_type"),
    ]
    assert str(found.forbidden[0]) == (
        "route web-shop: order can't change from none to subject, since its deliveries are stored "
        "under this name; give the new route another name"
    )
