"""Compare the digests that ``headrace run`` printed with ``hashlib``'s own.

:Runs on: the main thread of a script.
:Owns: nothing.
"""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path


def main(output: str) -> None:
    """Check each line of ``output``, and that no visible file was left out."""
    lines = Path(output).read_text(encoding="utf-8").splitlines()
    told = {record["in"]: record["out"] for record in map(json.loads, lines)}
    for path, digest in told.items():
        if hashlib.sha256(Path(path).read_bytes()).hexdigest() != digest:
            sys.exit(f"wrong digest of {path}: {digest}")
    lost = _visible_files() - {Path(path).resolve() for path in told}
    if lost:
        sys.exit(f"not hashed: {', '.join(map(str, sorted(lost)))}")
    print(f"{len(told)} digests agree with hashlib")


def _visible_files() -> set[Path]:
    here = Path.cwd()
    return {
        path.resolve()
        for path in here.rglob("*")
        if path.is_file()
        and not any(part.startswith(".") for part in path.relative_to(here).parts)
    }


if __name__ == "__main__":
    main(sys.argv[1])
