"""``python -m supervision``: the ``headrace`` command.

:Runs on: the main thread.
:Owns: nothing.
"""

from __future__ import annotations

import sys

from supervision.cli import main

if __name__ == "__main__":
    sys.exit(main())
