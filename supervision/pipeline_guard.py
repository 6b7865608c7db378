"""Who must not use a run, or not wait for it: a forked copy, and its own insides.

:Runs on: any thread.
:Owns: nothing but the number of the process that the run was made in.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, final

from actors import Role, role_in
from actors.errors import UsedAfterFork, WouldDeadlock

if TYPE_CHECKING:
    from actors import Ledger

__all__ = ["Guard"]


@final
class Guard:
    """Refuses what could never end well.

    Args:
        name: The pipeline's.
        ledger: Whose insides must not wait.
    """

    def __init__(self, name: str, ledger: Ledger) -> None:
        self.pid = os.getpid()
        self._name = name
        self._ledger = ledger

    @property
    def is_elsewhere(self) -> bool:
        """True in a forked copy."""
        return os.getpid() != self.pid

    def check_process(self) -> None:
        """Refuse to work in a forked copy, which has none of the threads.

        Raises:
            UsedAfterFork: Naming both processes.
        """
        if self.is_elsewhere:
            msg = (
                f"{self._name} was started in process {self.pid} and cannot be used in "
                f"its forked child {os.getpid()}, which has none of its threads; make "
                "a new Pipeline there"
            )
            raise UsedAfterFork(msg)

    def forbid_wait(self, what: str, *, jobs_too: bool = False) -> None:
        """Refuse a wait on the whole from inside.

        Args:
            what: The call, for the error.
            jobs_too: Refuse it to jobs and producers as well.

        Raises:
            WouldDeadlock: If the caller is inside the pipeline.
        """
        self.check_process()
        mark = role_in(self._ledger)
        if mark is None:
            return
        if mark.role in (Role.JOB, Role.PRODUCER) and not jobs_too:
            return
        msg = (
            f"{what} from inside {mark.role.value} of {self._name} would wait for "
            "itself; call it from the host's own thread"
        )
        raise WouldDeadlock(msg)
