"""Makes the OpenAPI description say all of it: errors, headers, examples, where ids come from."""

from service_kit.web.openapi.document import install
from service_kit.web.openapi.errors import documented
from service_kit.web.openapi.headers import DEPRECATION, ETAG, LOCATION, ResponseHeader, answering

__all__ = [
    "DEPRECATION",
    "ETAG",
    "LOCATION",
    "ResponseHeader",
    "answering",
    "documented",
    "install",
]
