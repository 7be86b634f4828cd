"""docs/tickets.md is run as it is printed, and answers what it prints."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.system.processes import bare_environment
from tests.system.stack import Stack

WALK = (ROOT / "docs" / "tickets.md").read_text()
# Each piece of shell, with the answer that is printed below it, if there is one.
STEPS = re.findall(r"```sh\n(.*?)```\n(?:\n```text\n(.*?)```\n)?", WALK, re.DOTALL)
END_OF_STEP = "--- the end of a step ---"


def pattern(printed: str) -> re.Pattern[str]:
    """Read what is printed: a … is anything, and a line may be broken anywhere."""
    parts = printed.replace("…\n", "…").replace("\n…", "…").split("…")
    return re.compile(r"[\s\S]*?".join(re.sub(r"\\\n|\n", r"\\s*", re.escape(p)) for p in parts))


@pytest.fixture
def answers(stack: Stack, tmp_path: Path) -> list[str]:
    """Run the whole walk in one shell. Returns what each step printed."""
    bash = shutil.which("bash")
    if bash is None or shutil.which("curl") is None:
        pytest.skip("there is no bash, or no curl, on this machine")
    stack.crm.restart(SEED_DEMO_DATA="true")
    script = "".join(f"{step}\necho; echo '{END_OF_STEP}'\n" for step, _ in STEPS)
    run = subprocess.run(
        [bash, "-euo", "pipefail", "-c", script],
        check=True,
        cwd=tmp_path,
        env=bare_environment() | {"CRM": stack.crm.url, "no_proxy": "*"},
        stdout=subprocess.PIPE,
        text=True,
        timeout=50,
    )
    return run.stdout.split(END_OF_STEP)[:-1]


@pytest.mark.engine("sqlite")
def test_each_step_answers_what_is_printed_below_it(answers: list[str]) -> None:
    assert len(answers) == len(STEPS) > 8
    for (step, printed), answer in zip(STEPS, answers, strict=True):
        plain = answer.replace("\r", "").replace("}{", "}\n{")
        assert not printed or pattern(printed).search(plain), f"{step}{plain}"


def test_a_wrong_answer_would_be_noticed() -> None:
    printed = '{…"status":"open",…\n"sla":{"a":1},…}\n'

    assert pattern(printed).search('{"id":1,"status":"open","x":2,"sla":{"a":1},"y":3}\n')
    assert not pattern(printed).search('{"id":1,"status":"closed","x":2,"sla":{"a":1},"y":3}\n')
