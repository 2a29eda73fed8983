"""What stands for something that this process holds, and so has no copies."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import ClassVar, NoReturn, SupportsIndex


class Uncopied:
    """A base that refuses ``copy``, ``deepcopy`` and ``pickle``: two would hold what one does."""

    __slots__ = ()

    #: What to do in place of it.
    _instead: ClassVar[str]

    def __reduce_ex__(self, protocol: SupportsIndex) -> NoReturn:
        raise TypeError(f"a {type(self).__name__} cannot be copied or pickled: {self._instead}")
