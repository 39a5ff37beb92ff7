"""Views by name, each made when it is looked at: of ten thousand of which one page is wanted only that page is made."""

from collections.abc import Callable, Iterable, Iterator
from typing import Generic, TypeVar

T = TypeVar("T")


class Looks(Generic[T]):
    """Those of `names`, in their order; `look` makes the view of one, at any time and in any thread."""

    def __init__(self, names: Iterable[str], look: Callable[[str], T]) -> None:
        self.names = sorted(names)
        self.look = look

    def __iter__(self) -> Iterator[T]:
        return map(self.look, self.names)
