"""The manifests for Kubernetes, put together, against the schemas of its API."""

import kubernetes_validate
import pytest

from tests.deploy.manifests import OVERLAYS, needs_kubectl, rendered

# The oldest and the newest that are asked for; `sleep` as a hook is stable since 1.34.
RELEASES = ["1.34", "1.37"]


@needs_kubectl
@pytest.mark.parametrize("release", RELEASES)
@pytest.mark.parametrize("overlay", OVERLAYS)
def test_each_object_is_what_the_api_takes(overlay: str, release: str) -> None:
    for one in rendered(overlay):
        kubernetes_validate.validate(one, release, strict=True)
