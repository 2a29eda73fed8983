"""``Generic`` for classes whose parameters only a type checker reads.

``typing`` takes as long to import as all of this package together.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Generic as Generic
else:

    class Generic:
        """A base that may be subscripted, to no effect."""

        __slots__ = ()

        def __class_getitem__(cls, parameters: object) -> type:
            return cls
