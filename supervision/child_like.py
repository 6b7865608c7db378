"""The three ways to say what a child is: a class, a class with arguments, or a spec.

:Runs on: any thread; pure but for a class's own ``child_spec``.
:Owns: nothing.
"""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from actors.errors import ConfigurationError
from supervision._spec_checks import check_actor_class, name_of
from supervision.child_spec import A, ChildSpec, Kwargs

if TYPE_CHECKING:
    from typing import NoReturn

__all__ = ["ChildLike", "as_spec", "id_of"]

ChildLike: TypeAlias = type[A] | tuple[type[A], Kwargs] | ChildSpec[A]
"""What stands for a child wherever children are given; see :func:`as_spec`."""

_MUST_BE: Final = "an actor class, a pair (class, kwargs) or a ChildSpec"


def as_spec(child: ChildLike[A], where: str = "supervisor: a child") -> ChildSpec[A]:
    """The spec of a child that is given in any of three ways.

    * A ``ChildSpec`` is taken as it is.
    * A class stands for its default spec: what its classmethod ``child_spec()``
      returns, if it has one, else ``ChildSpec(cls)``.
    * ``(class, kwargs)`` is that default with these ``kwargs`` in place of its own.

    Args:
        child: One of them.
        where: What to call it in an error.

    Raises:
        ConfigurationError: If it is none of them, or its class's ``child_spec`` does
            not return a spec of that class.

    Example:
        ::

            class Core(Actor):
                @classmethod
                def child_spec(cls) -> ChildSpec[Self]:
                    return ChildSpec(cls, restart="permanent", shutdown=30)

            as_spec((Core, {"config": config}))  # permanent, with a config
    """
    given: object = child  # typed wider than promised: hosts without a type checker
    if isinstance(given, ChildSpec):
        return given
    if isinstance(given, type):
        return _default_of(given)
    if not isinstance(given, tuple) or len(given) != 2:
        _refuse(where, given)
    cls, kwargs = given
    if not isinstance(cls, type) or isinstance(kwargs, type):
        _refuse(where, given)
    if _carried_by(cls) is None:  # a supervisor may need its arguments to be checked
        return ChildSpec(cls, kwargs=kwargs)
    return dataclasses.replace(_default_of(cls), kwargs=kwargs)


def id_of(child: type[Any] | ChildSpec[Any]) -> str:
    """The id of a child that is given as a spec, or as the class that stood for it."""
    if not isinstance(child, type) or _carried_by(child) is not None:
        return as_spec(child).id
    # A spec would have to be made, and a supervisor cannot be without arguments.
    check_actor_class(child, f"child {name_of(child)!r}")
    return child.__name__


def _default_of(cls: type[A]) -> ChildSpec[A]:
    """The spec that a class carries, or the one that suits any."""
    where = f"child {name_of(cls)!r}"
    check_actor_class(cls, where)
    carried = _carried_by(cls)
    if carried is None:
        return ChildSpec(cls)
    if not isinstance(carried, classmethod | staticmethod):
        msg = (
            f"{where}: child_spec must be a classmethod, got {carried!r}; "
            "put @classmethod above it, or child_spec = None to carry none"
        )
        raise ConfigurationError(msg)
    maker: Any = cls
    spec = maker.child_spec()
    if not isinstance(spec, ChildSpec) or not issubclass(spec.actor_class, cls):
        msg = (
            f"{where}: child_spec() must return a ChildSpec of this class, "
            f"got {spec!r}; make it of cls: ChildSpec(cls, ...)"
        )
        raise ConfigurationError(msg)
    return spec


def _carried_by(cls: type) -> object:
    """What makes the default spec of a class, unbound; ``None`` if nothing does."""
    return inspect.getattr_static(cls, "child_spec", None)


def _refuse(where: str, given: object) -> NoReturn:
    way_out = ""
    if isinstance(given, Mapping):
        way_out = "; the arguments of a child stand beside its class: (class, kwargs)"
    elif isinstance(given, tuple | list):
        way_out = "; for positional arguments write ChildSpec(class, args)"
    elif hasattr(given, "actor_urn"):
        way_out = "; give its class, the supervisor starts it itself"
    msg = f"{where} must be {_MUST_BE}, got {given!r}{way_out}"
    raise ConfigurationError(msg)
