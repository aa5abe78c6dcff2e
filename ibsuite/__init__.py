"""ibsuite: what deep networks know, measured in bits."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ibsuite.python import code, load

__version__ = "0.2.0"
__all__ = ["code", "load"]


def __getattr__(name: str) -> Any:
    """What is used from Python, imported when it is asked for: the trainer takes seconds."""
    if name in __all__:
        from ibsuite import python

        return getattr(python, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
