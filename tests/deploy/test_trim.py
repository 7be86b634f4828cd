"""What the images' builder cuts off is loaded by nothing that a service does."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT, SERVICES
from tests.system.processes import bare_environment

sys.path.insert(0, str(ROOT / "docker"))
import trim

pytestmark = pytest.mark.slow

WITHOUT = """
import importlib, pkgutil, sys

CUT = tuple(sys.argv[2:])

class Cut:
    def find_spec(self, name, path=None, target=None):
        if any(f"{name}.".startswith(f"{one}.") for one in CUT):
            raise ModuleNotFoundError(f"{name} is cut off", name=name)

sys.meta_path.insert(0, Cut())
service = importlib.import_module(sys.argv[1])
for module in pkgutil.walk_packages(service.__path__, f"{service.__name__}."):
    if ".migrations" not in module.name and not module.name.endswith("__main__"):
        importlib.import_module(module.name)
"""
# Builds the whole app.
DESCRIPTION = """
import runpy
service = sys.argv[1]
sys.argv[1:] = ["openapi"]
runpy.run_module(service, run_name="__main__", alter_sys=False)
"""
USES = {
    "crm_api": """
from pydantic import BaseModel, EmailStr
class Person(BaseModel):
    email: EmailStr
assert Person(email="ada@example.com").email
""",
    "terminal": """
import io
from rich.console import Console
from rich.progress import track
from rich.table import Table
console = Console(force_terminal=True, file=io.StringIO())
table = Table("name")
table.add_row("[red]Ada")
console.print(table)
assert list(track([1, 2], console=console)) == [1, 2]
assert "Ada" in console.file.getvalue()
""",
    "tracing": """
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
class Sent(OTLPSpanExporter):
    def export(self, spans):
        from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
        assert encode_spans(spans).SerializeToString()
        print("sent")
provider = TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(Sent()))
with provider.get_tracer("test").start_as_current_span("span"):
    pass
""",
}


def run_without(module: str, names: set[str], use: str = "") -> subprocess.CompletedProcess[str]:
    cut = [name.replace("/", ".") for name in names]
    return subprocess.run(
        [sys.executable, "-c", WITHOUT + use, module, *cut],
        cwd=ROOT,
        env=bare_environment(),
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )


@pytest.mark.long
@pytest.mark.parametrize("service", SERVICES)
def test_a_service_does_without_what_is_cut_off(service: str) -> None:
    done = run_without(service, trim.NEVER_LOADED, USES.get(service, "") + DESCRIPTION)

    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["paths"]


@pytest.mark.parametrize("use", ["terminal", "tracing"])
def test_so_do_the_libraries_in_the_way_they_are_used(use: str) -> None:
    done = run_without("service_kit", trim.NEVER_LOADED, USES[use])

    assert done.returncode == 0, done.stderr


def test_what_is_cut_off_is_missed_where_it_is_used() -> None:
    done = run_without(
        "service_kit", {"sqlalchemy/dialects/sqlite"}, "import sqlalchemy.dialects.sqlite"
    )

    assert "sqlalchemy.dialects.sqlite is cut off" in done.stderr


@pytest.mark.parametrize(
    ("path", "is_cut"),
    [
        ("lib/python3.13/site-packages/pygments/lexer.py", True),
        ("lib/python3.13/site-packages/google/api/http_pb2.py", True),
        ("lib/python3.13/site-packages/google/protobuf/message.py", False),
        ("lib/python3.13/site-packages/dns_of_ours/a.py", False),
        ("lib/python3.13/site-packages/sqlalchemy/dialects/postgresql/asyncpg.py", False),
        ("lib/python3.13/site-packages/asyncpg/protocol/protocol.pyx", True),
        ("lib/python3.13/site-packages/mako/testing/helpers.py", True),
    ],
)
def test_what_is_cut(path: str, is_cut: bool) -> None:
    assert trim.is_superfluous(Path(path)) is is_cut


def test_no_empty_folder_is_left_to_import(tmp_path: Path) -> None:
    packages = tmp_path / "lib" / "python3.13" / "site-packages"
    for name in ("pygments/lexers/python.py", "rich/table.py"):
        (packages / name).parent.mkdir(parents=True)
        (packages / name).touch()

    trim.main(tmp_path)

    assert sorted(path.name for path in packages.rglob("*")) == ["rich", "table.py"]
