"""Compiles the standard library, which the slim image brings without bytecode, below a folder.

    python docker/precompile.py FOLDER

The files lie where they belong, so that FOLDER can be copied to /. They carry a hash of their
source instead of its time: the same bytes in every build, and another base's source is noticed.
"""

import re
import sys
import sysconfig
from pathlib import Path
from py_compile import PycInvalidationMode, compile  # noqa: A004 (its name there)

# Not for a server; and what differs from one architecture to the other.
LEFT_OUT = re.compile(
    r"(test|unittest|idlelib|tkinter|turtledemo|ensurepip|venv|pydoc_data|_pyrepl|curses|xmlrpc|wsgiref"
    r"|config-[^/]*|site-packages|dist-packages)/|_sysconfigdata|turtle\.py"
)


def main(folder: Path) -> int:
    library = Path(sysconfig.get_path("stdlib"))
    for source in sorted(library.rglob("*.py")):
        name = source.relative_to(library).as_posix()
        if LEFT_OUT.match(name):
            continue
        cached = source.parent / "__pycache__" / f"{source.stem}.{sys.implementation.cache_tag}.pyc"
        compiled = folder / cached.relative_to("/")
        compiled.parent.mkdir(parents=True, exist_ok=True)
        compile(
            str(source),
            str(compiled),
            doraise=True,
            invalidation_mode=PycInvalidationMode.CHECKED_HASH,
        )
        compiled.chmod(0o644)
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
