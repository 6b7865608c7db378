"""Check what is in the wheel and in the source distribution.

:Runs on: the main thread of a script.
:Owns: the list of what each must hold.
"""

from __future__ import annotations

import sys
import tarfile
import zipfile
from pathlib import Path

PACKAGES = {"actors", "supervision"}


def main(folder: str) -> None:
    """Check the one wheel and the one source distribution in ``folder``."""
    (wheel,) = Path(folder).glob("*.whl")
    (sdist,) = Path(folder).glob("*.tar.gz")
    _check_wheel(wheel)
    _check_sdist(sdist)


def _check_wheel(path: Path) -> None:
    with zipfile.ZipFile(path) as wheel:
        names = wheel.namelist()
        info = next(name.partition("/")[0] for name in names if ".dist-info/" in name)
        entry_points = wheel.read(f"{info}/entry_points.txt").decode()
    tops = {name.partition("/")[0] for name in names} - {info}
    _require(tops == PACKAGES, f"{path.name} installs {sorted(tops)}")
    for package in PACKAGES:
        _require(f"{package}/py.typed" in names, f"no {package}/py.typed")
        _require(_modules(package) <= set(names), f"a module of {package} is missing")
    _require("headrace = supervision.cli:main" in entry_points, "no headrace command")
    _require(any(name.endswith("/LICENSE") for name in names), "no licence")
    print(f"{path.name}: {len(names)} files, the two packages alone")


def _check_sdist(path: Path) -> None:
    with tarfile.open(path) as sdist:
        names = {member.name.partition("/")[2] for member in sdist.getmembers()}
    wanted = {"README.rst", "CHANGELOG.rst", "LICENSE", "setup.cfg", "setup.py"}
    for folder in (*PACKAGES, "tests", "examples", "benchmarks"):
        wanted |= _modules(folder)
    wanted |= {path.as_posix() for path in Path("docs").glob("*.rst")}
    lost = sorted(wanted - names)
    _require(not lost, f"{path.name} lacks {lost}")
    print(f"{path.name}: {len(names)} entries, with docs, tests and examples")


def _modules(folder: str) -> set[str]:
    return {path.as_posix() for path in Path(folder).rglob("*.py")}


def _require(holds: bool, otherwise: str) -> None:  # noqa: FBT001
    if not holds:
        sys.exit(otherwise)


if __name__ == "__main__":
    main(sys.argv[1])
