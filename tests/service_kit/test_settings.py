"""What a service makes of its environment, and what it refuses to start with."""

import errno
import hashlib
import traceback
from pathlib import Path
from typing import Any

import certifi
import pytest
from pydantic import ValidationError

from crm_api.settings import Settings as CrmSettings
from service_kit.process.configured_tokens import digest_of
from service_kit.process.environment import Refused, near_misses
from service_kit.process.rates import Rate
from service_kit.process.settings import SECRETS_DIR, ServiceSettings
from tests.conftest import SERVICES
from tests.service_kit.conftest import Settings

SECRET = "s3cret-and-long-enough"
URL = "sqlite:///boxes.db"
# Not even by root, who runs the tests in many a container.
UNREADABLE = Path("/proc/self/mem")
HASHED = f"sha256:{hashlib.sha256(SECRET.encode()).hexdigest()}"
LONG = "long-enough-to-be-no-guess-of-anybody"
REAL = {"ENVIRONMENT": "production", "API_TOKENS": f"admin:{SECRET}"}


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Read settings from an environment with just these variables."""

    def read(secrets: Path = SECRETS_DIR, **variables: str) -> ServiceSettings:
        for name in Settings.model_fields:
            monkeypatch.delenv(name.upper(), raising=False)
        for name, value in {"DATABASE_URL": URL, **variables}.items():
            monkeypatch.setenv(name, value)
        return Settings.from_environment(secrets)

    return read


def faults(read: Any, **variables: str) -> str:
    """Return what a person is told, once it is sure that no secret is in any form of it."""
    with pytest.raises(Refused) as caught:
        read(**variables)
    texts = [str(caught.value), repr(caught.value), *traceback.format_exception(caught.value)]
    if isinstance(cause := caught.value.__context__, ValidationError):
        texts += [str(cause), repr(cause), *traceback.format_exception(cause)]
    assert not [text for text in texts if SECRET in text]
    return str(caught.value)


def test_without_an_environment_there_are_defaults(read: Any) -> None:
    settings = read()

    assert settings.environment == "development"
    assert (settings.host, settings.port, settings.workers) == ("127.0.0.1", 8009, 1)
    assert (settings.log_level, settings.log_style) == ("INFO", "text")
    assert settings.anonymous_scopes == frozenset()
    assert settings.cors_origins == ()


@pytest.mark.parametrize("service", SERVICES.values(), ids=SERVICES)
def test_every_service_starts_with_no_variable_set(
    service: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HOST", "PORT", "WORKERS", "LOG_LEVEL", "LOG_FORMAT"):
        monkeypatch.delenv(name, raising=False)
    settings = service.settings()

    assert settings.port == service.port
    assert settings.uses_demo_tokens
    assert settings.database_url.startswith("sqlite:///data/")


def test_a_variable_that_is_empty_is_one_that_is_not_set(read: Any) -> None:
    settings = read(PORT="", API_TOKENS="", ADMIN_TOKEN="", LOG_FORMAT="")

    assert settings.port == 8009
    assert settings.uses_demo_tokens


def test_development_has_a_demo_token_a_role(read: Any) -> None:
    settings = read()

    assert settings.uses_demo_tokens
    assert settings.tokens() == [("admin", "admin123"), ("viewer", "viewer123")]


def test_api_tokens_replace_the_demo_tokens(read: Any) -> None:
    settings = read(API_TOKENS=" viewer:one , viewer:two,admin:three,")

    assert not settings.uses_demo_tokens
    assert settings.tokens() == [("viewer", "one"), ("viewer", "two"), ("admin", "three")]


def test_the_admin_token_is_one_more(read: Any) -> None:
    assert ("admin", SECRET) in read(ADMIN_TOKEN=SECRET).tokens()
    assert read(ADMIN_TOKEN=SECRET, API_TOKENS="viewer:one").tokens() == [
        ("viewer", "one"),
        ("admin", SECRET),
    ]


@pytest.mark.parametrize("variables", [{"API_TOKENS": f"admin:{SECRET}"}, {"ADMIN_TOKEN": SECRET}])
def test_production_starts_with_tokens_of_its_own(read: Any, variables: dict[str, str]) -> None:
    settings = read(ENVIRONMENT="production", **variables)

    assert settings.tokens() == [("admin", SECRET)]
    assert settings.log_style == "json"


def test_production_refuses_to_start_without_a_token(read: Any) -> None:
    told = faults(read, ENVIRONMENT="production")

    assert "API_TOKENS" in told
    assert "ADMIN_TOKEN" in told


@pytest.mark.parametrize(
    "demo",
    ["agent123", "admin123", "viewer123", "clerk123", "integration123", "Admin123", "VIEWER123"],
)
@pytest.mark.parametrize(
    ("variables", "role"),
    [
        ({"API_TOKENS": "viewer:{}"}, "viewer"),
        ({"API_TOKENS": f"admin:{SECRET},viewer:{{}}"}, "viewer"),
        ({"ADMIN_TOKEN": "{}"}, "admin"),
        ({"ADMIN_TOKEN": "{}", "API_TOKENS": f"viewer:{SECRET}"}, "admin"),
    ],
)
def test_production_refuses_every_demo_token_and_says_whose(
    read: Any, variables: dict[str, str], role: str, demo: str
) -> None:
    given = {name: value.format(demo) for name, value in variables.items()}

    told = faults(read, ENVIRONMENT="production", **given)

    assert told.startswith(f"{next(iter(variables))} holds a demo token for the role {role};")
    assert demo not in told


@pytest.mark.parametrize("demo", ["admin123", "Admin123", "ADMIN123", "inTegration123"])
def test_production_refuses_the_hash_of_a_demo_token(read: Any, demo: str) -> None:
    hashed = hashlib.sha256(demo.encode()).hexdigest()

    for text in (hashed, hashed.upper()):
        told = faults(read, ENVIRONMENT="production", API_TOKENS=f"viewer:sha256:{text}")
        assert told.startswith("API_TOKENS holds a demo token for the role viewer;")
        assert text not in told


def test_production_lets_nobody_in_without_a_token(read: Any) -> None:
    told = faults(read, **REAL, ANONYMOUS_SCOPES="boxes:read")

    assert told == "unset ANONYMOUS_SCOPES: in production every caller has a token"
    assert read(ANONYMOUS_SCOPES="boxes:read").anonymous_scopes == {"boxes:read"}


def test_a_token_may_be_given_as_its_hash(read: Any) -> None:
    settings = read(API_TOKENS=f"admin:{HASHED.upper().replace('SHA', 'sha')},viewer:{LONG}")

    digests = [(role, digest_of(token)) for role, token in settings.tokens()]
    assert digests == [
        ("admin", hashlib.sha256(SECRET.encode()).digest()),
        ("viewer", hashlib.sha256(LONG.encode()).digest()),
    ]
    assert SECRET not in f"{settings!r} {settings.tokens()}"


def test_short_tokens_are_named_by_their_places_in_production(read: Any) -> None:
    tokens = f"admin:{LONG},viewer:{SECRET},viewer:{HASHED},admin:{'x' * 31},admin:{'x' * 32}"
    settings = read(ENVIRONMENT="production", API_TOKENS=tokens, ADMIN_TOKEN="short")

    [told] = settings.deprecations()
    assert told == (
        "Tokens with fewer than 32 characters: API_TOKENS (entry 2, viewer), API_TOKENS (entry 4, "
        "admin), ADMIN_TOKEN. From 0.5.0 production refuses them."
    )
    assert read(API_TOKENS=tokens).deprecations() == []
    assert read(ENVIRONMENT="production", API_TOKENS=f"admin:{LONG}").deprecations() == []


@pytest.mark.parametrize("variable", ["API_TOKENS", "ADMIN_TOKEN"])
def test_production_refuses_a_demo_token_of_a_file_too(
    read: Any, tmp_path: Path, variable: str
) -> None:
    (tmp_path / "API_TOKENS").write_text(f"viewer:{SECRET}\n")
    (tmp_path / variable).write_text("admin:admin123\n" if variable == "API_TOKENS" else "admin123")

    told = faults(read, secrets=tmp_path, ENVIRONMENT="production")

    assert told.startswith(f"{variable} holds a demo token for the role admin;")
    assert "admin123" not in told


@pytest.mark.parametrize(
    ("variables", "says"),
    [
        ({"API_TOKENS": f"keeper:{SECRET}"}, "API_TOKENS: the role of entry 1 is none of admin"),
        ({"API_TOKENS": f"admin:x,{SECRET}:admin"}, "API_TOKENS: the role of entry 2 is none of"),
        ({"API_TOKENS": SECRET}, "API_TOKENS: each entry is role:token"),
        ({"API_TOKENS": f"admin:{SECRET},{SECRET}"}, "API_TOKENS: each entry is role:token"),
        ({"API_TOKENS": "admin:"}, "API_TOKENS: a token has"),
        ({"API_TOKENS": f"admin:{SECRET} x"}, "API_TOKENS: a token has"),
        ({"API_TOKENS": f"admin:{SECRET}é"}, "API_TOKENS: a token has"),
        ({"API_TOKENS": f"admin:x:{SECRET}"}, "API_TOKENS: a token has"),
        ({"API_TOKENS": "admin:" + SECRET * 30}, "API_TOKENS: a token has"),
        ({"API_TOKENS": f"admin:sha256:{SECRET}"}, "API_TOKENS: after sha256: there must be 64"),
        ({"API_TOKENS": f"admin:sha256:{'a' * 65}"}, "API_TOKENS: after sha256: there must be 64"),
        ({"ADMIN_TOKEN": f"{SECRET} x"}, "ADMIN_TOKEN: a token has"),
        ({"ADMIN_TOKEN": HASHED}, "ADMIN_TOKEN: a token has"),
        (
            {"API_TOKENS": f"viewer:{SECRET},admin:{HASHED}"},
            "API_TOKENS: the token for the role admin is there for viewer too",
        ),
        (
            {"API_TOKENS": f"viewer:{HASHED}", "ADMIN_TOKEN": SECRET},
            "ADMIN_TOKEN: the token for the role admin is there for viewer too",
        ),
        (
            {"API_TOKENS": f"viewer:{SECRET},admin:{SECRET}"},
            "API_TOKENS: the token for the role admin is there for viewer too",
        ),
        (
            {"API_TOKENS": f"viewer:{SECRET}", "ADMIN_TOKEN": SECRET},
            "ADMIN_TOKEN: the token for the role admin is there for viewer too",
        ),
        ({"ANONYMOUS_SCOPES": "boxes:read,boxes:eat"}, "ANONYMOUS_SCOPES: no scope boxes:eat"),
        ({"ENVIRONMENT": "staging"}, "ENVIRONMENT: "),
        ({"PORT": "http"}, "PORT: "),
        ({"PORT": "0"}, "PORT: "),
        ({"WORKERS": "0"}, "WORKERS: "),
        ({"LOG_LEVEL": "loud"}, "LOG_LEVEL: "),
        ({"LOG_FORMAT": "xml"}, "LOG_FORMAT: "),
        ({"DATABASE_URL": f"mysql://u:{SECRET}@host/x"}, "DATABASE_URL: it must start with"),
        ({"DATABASE_URL": f"u:{SECRET}@host/x"}, "DATABASE_URL: it must start with"),
        ({"DATABASE_DIRECT_URL": f"u:{SECRET}@host/x"}, "DATABASE_DIRECT_URL: it must start with"),
        (
            {"DATABASE_URL": "sqlite:///x", "DATABASE_DIRECT_URL": f"postgresql://u:{SECRET}@h/x"},
            "DATABASE_DIRECT_URL says nothing while DATABASE_URL names a file",
        ),
    ],
)
def test_a_fault_is_named_by_its_variable_and_without_its_value(
    read: Any, variables: dict[str, str], says: str
) -> None:
    assert faults(read, **variables).startswith(says)


def test_every_fault_is_told_at_once(read: Any) -> None:
    told = faults(read, PORT="http", LOG_LEVEL="loud", API_TOKENS=SECRET)

    assert [line.split(":")[0] for line in told.splitlines()] == [
        "PORT",
        "LOG_LEVEL",
        "API_TOKENS",
    ]


def test_where_a_setting_is_missed_a_misspelt_one_is_named(
    read: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("API_TOKEN", f"admin:{SECRET}")

    told = faults(read, ENVIRONMENT="production")

    assert told.splitlines()[1:] == ["API_TOKEN has no effect. Did you mean API_TOKENS?"]


def test_no_token_is_in_the_text_of_the_settings(read: Any) -> None:
    settings = read(API_TOKENS=f"admin:{SECRET}", ADMIN_TOKEN=SECRET)

    assert SECRET not in f"{settings!r} {settings!s}"


@pytest.mark.parametrize("level", ["debug", "Warning", "ERROR"])
def test_a_log_level_may_be_written_in_either_case(read: Any, level: str) -> None:
    assert read(LOG_LEVEL=level).log_level == level.upper()


def test_lists_are_separated_by_commas(read: Any) -> None:
    settings = read(
        ANONYMOUS_SCOPES="boxes:read, boxes:write",
        CORS_ORIGINS="https://a.example,https://b.example",
    )

    assert settings.anonymous_scopes == {"boxes:read", "boxes:write"}
    assert settings.cors_origins == ("https://a.example", "https://b.example")


def test_a_host_is_a_name_in_either_case(read: Any) -> None:
    settings = read(ALLOWED_HOSTS="LocalHost, 127.0.0.1,[::1],*.Example.com,")

    assert settings.allowed_hosts == ("localhost", "127.0.0.1", "[::1]", "*.example.com")
    assert read().allowed_hosts == ()


@pytest.mark.parametrize(
    "host",
    [
        "localhost:8000",
        "http://localhost",
        "*",
        "*.",
        "a.*.b",
        "::1",
        "[::1]:80",
        "a b",
        "a..b",
        ".",
    ],
)
def test_what_is_no_name_of_a_host_is_refused_by_its_place(read: Any, host: str) -> None:
    assert faults(read, ALLOWED_HOSTS=f"a,{host}").startswith("ALLOWED_HOSTS: entry 2 must be")


@pytest.mark.parametrize(
    "scheme", ["sqlite:///", "postgresql://", "postgres://", "postgresql+psycopg://"]
)
def test_a_database_is_known_by_its_scheme(read: Any, scheme: str) -> None:
    assert read(DATABASE_URL=f"{scheme}x").database_url == f"{scheme}x"


def test_what_takes_a_session_goes_past_a_pooler(read: Any, tmp_path: Path) -> None:
    (tmp_path / "DATABASE_DIRECT_URL").write_text("postgresql://server/x\n")

    assert read(DATABASE_URL="postgresql://pooler/x").session_url == "postgresql://pooler/x"
    behind = read(tmp_path, DATABASE_URL="postgresql://pooler/x")
    assert behind.session_url == "postgresql://server/x"


def test_a_secret_may_be_a_file_of_its_variables_name(read: Any, tmp_path: Path) -> None:
    (tmp_path / "API_TOKENS").write_text(f"viewer:{SECRET}\n")
    (tmp_path / "ADMIN_TOKEN").write_text("another\n")

    assert read(tmp_path).tokens() == [("viewer", SECRET), ("admin", "another")]


def test_a_variable_wins_over_a_file(read: Any, tmp_path: Path) -> None:
    (tmp_path / "API_TOKENS").write_text(f"viewer:{SECRET}\n")

    assert read(tmp_path, API_TOKENS="admin:mine").tokens() == [("admin", "mine")]


def test_a_fault_in_a_file_is_told_without_its_content(read: Any, tmp_path: Path) -> None:
    (tmp_path / "API_TOKENS").write_text(SECRET)

    assert "API_TOKENS" in faults(read, secrets=tmp_path)


def test_names_may_be_written_in_lower_case(
    read: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("workers", "3")
    (tmp_path / "Admin_Token").write_text("mine")

    settings = read(tmp_path)
    assert settings.workers == 3
    assert ("admin", "mine") in settings.tokens()


def test_what_else_is_in_the_folder_of_secrets_is_left_alone(read: Any, tmp_path: Path) -> None:
    (tmp_path / "certificates").mkdir()
    (tmp_path / "tls.key").write_bytes(b"\xff")
    (tmp_path / "API_TOKENS").write_text("\n")
    (tmp_path / "ADMIN_TOKEN").write_text("")

    assert read(tmp_path).uses_demo_tokens


def test_a_secret_that_is_a_folder_is_named(read: Any, tmp_path: Path) -> None:
    secret = tmp_path / "ADMIN_TOKEN"  # as Docker makes it where the file to mount is not there
    secret.mkdir()

    assert str(secret) in faults(read, secrets=tmp_path)


def test_a_secret_that_is_no_text_is_named(read: Any, tmp_path: Path) -> None:
    (tmp_path / "ADMIN_TOKEN").write_bytes(SECRET.encode() + b"\xff")

    told = faults(read, secrets=tmp_path)
    assert told.startswith(f"A file in {tmp_path} is no text: ")
    assert "admin_token" in told


def test_secrets_that_can_not_be_listed_are_named(
    read: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: Path) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "iterdir", refuse)

    told = faults(read, secrets=tmp_path)
    assert told == f"{tmp_path} can't be read: Permission denied"


@pytest.mark.skipif(not UNREADABLE.exists(), reason="there is no file that nobody can read")
def test_a_secret_that_can_not_be_read_is_named(read: Any, tmp_path: Path) -> None:
    secret = tmp_path / "ADMIN_TOKEN"
    secret.symlink_to(UNREADABLE)

    assert str(secret) in faults(read, secrets=tmp_path)


@pytest.mark.parametrize("service", SERVICES.values(), ids=SERVICES)
def test_a_service_refuses_a_bad_environment_in_words(
    service: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("API_TOKENS", SECRET)

    with pytest.raises(Refused, match="API_TOKENS") as caught:
        service.settings()

    assert SECRET not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ("DATABSE_URL", "DATABASE_URL"),
        ("DATABASEE_URL", "DATABASE_URL"),
        ("datavase_url", "DATABASE_URL"),
        ("DATABASE_ULR", "DATABASE_URL"),
        ("API_TOKEN", "API_TOKENS"),
        ("XAPI_TOKENS", "API_TOKENS"),
        ("LOG_LEVLE", "LOG_LEVEL"),
        ("WORKER", "WORKERS"),
    ],
)
def test_a_name_with_one_slip_is_recognised(given: str, name: str) -> None:
    told = f"{given} has no effect. Did you mean {name}?"
    assert near_misses(Settings.model_fields, [given]) == [told]


@pytest.mark.parametrize(
    "given",
    [
        "DATABASE_URL",
        "INVENTORY_API_PORT",  # as Kubernetes sets it
        "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
        "HOSTNAME",
        "HOSTS",
        "SORT",
    ],
)
def test_a_name_of_something_else_is_not_taken_for_a_slip(given: str) -> None:
    assert near_misses([*Settings.model_fields, "inventory_api_url"], [given]) == []


def test_settings_can_not_be_changed(read: Any) -> None:
    with pytest.raises(ValidationError):
        read().port = 1


def test_demo_data_is_wanted_in_development_alone_unless_said_otherwise() -> None:
    assert CrmSettings().wants_demo_data
    assert not CrmSettings(environment="production", admin_token=SECRET).wants_demo_data
    assert not CrmSettings(seed_demo_data=False).wants_demo_data


@pytest.mark.parametrize(
    ("variables", "rate"),
    [
        ({}, None),
        (REAL, Rate(50, 1)),
        (REAL | {"RATE_LIMIT": "off"}, None),
        ({"RATE_LIMIT": "Off"}, None),
        ({"RATE_LIMIT": " 7/second "}, Rate(7, 1)),
        ({"RATE_LIMIT": "600/minute"}, Rate(600, 60)),
        ({"RATE_LIMIT": "9000/HOUR"}, Rate(9000, 3600)),
    ],
)
def test_callers_are_held_to_a_rate(read: Any, variables: dict[str, str], rate: Any) -> None:
    assert read(**variables).caller_rate == rate


@pytest.mark.parametrize("value", ["50", "0/second", "50/day", "-1/second", "1.5/second", "none"])
def test_a_rate_that_is_none_is_refused(read: Any, value: str) -> None:
    assert faults(read, RATE_LIMIT=value).startswith("RATE_LIMIT: it must be off or a rate")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "can't be read: No such file or directory"),
        ("", "holds no certificate in PEM form"),
        ("-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n", "holds no certificate"),
    ],
)
def test_a_file_of_authorities_is_one(
    read: Any, tmp_path: Path, content: str | None, said: str
) -> None:
    path = tmp_path / "authorities.pem"
    if content is not None:
        path.write_text(content)

    assert f"CA_FILE: {path} {said}" in faults(read, CA_FILE=str(path))


def test_a_folder_is_no_file_of_authorities(read: Any, tmp_path: Path) -> None:
    assert f"CA_FILE: {tmp_path} can't be read" in faults(read, CA_FILE=str(tmp_path))


def test_a_file_of_authorities_is_taken(read: Any) -> None:
    assert read(CA_FILE=certifi.where()).ca_file == Path(certifi.where())
