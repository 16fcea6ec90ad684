"""Names in option files -> classes. Importing a module of the package is what registers its classes."""

from __future__ import annotations

import difflib
import importlib
import pkgutil
from collections.abc import Callable, Iterable, Iterator
from typing import Generic, TypeVar

T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., object])


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """``" Did you mean 'nf'?"``, or an empty string where nothing known is near."""
    close = difflib.get_close_matches(name, list(known), n=1)
    return f" Did you mean {close[0]!r}?" if close else ""


class Registry(Generic[T]):
    """Maps a name to a constructor, and finds the constructors by importing every module of ``package``."""

    def __init__(self, kind: str, package: str) -> None:
        """``kind`` is the word for an entry in messages, ``package`` the one whose modules register entries."""
        self.kind = kind
        self._package = package
        self._entries: dict[str, Callable[..., T]] = {}
        self._scanned = False

    def register(self, *names: str) -> Callable[[F], F]:
        """Class decorator: ``@ARCHS.register("rrdb_net", "esrgan")``.

        Raises:
            ValueError: another class has one of the names.
        """

        def decorate(factory: F) -> F:
            for name in names:
                taken = self._entries.get(name)
                if taken is not None and taken is not factory:
                    raise ValueError(
                        f"{self.kind} {name!r} is registered twice: in {taken.__module__} and in {factory.__module__}"
                    )
                self._entries[name] = factory  # type: ignore[assignment]
            return factory

        return decorate

    def __getitem__(self, name: str) -> Callable[..., T]:
        """The constructor of that name.

        Raises:
            KeyError: there is none; the message names the nearest and all there are.
        """
        self._scan()
        try:
            return self._entries[name]
        except KeyError:
            hint = did_you_mean(name, self._entries)
            known = ", ".join(sorted(self._entries))
            raise KeyError(f"no {self.kind} is called {name!r}.{hint} There are: {known}") from None

    def __contains__(self, name: object) -> bool:
        """Whether a constructor has that name."""
        self._scan()
        return name in self._entries

    def __iter__(self) -> Iterator[str]:
        """All names, sorted."""
        self._scan()
        return iter(sorted(self._entries))

    def _scan(self) -> None:
        if self._scanned:
            return
        self._scanned = True
        try:
            package = importlib.import_module(self._package)
            for module in pkgutil.iter_modules(package.__path__, f"{self._package}."):
                importlib.import_module(module.name)
        except BaseException:
            self._scanned = False  # a module that cannot be imported is to be told each time
            raise
