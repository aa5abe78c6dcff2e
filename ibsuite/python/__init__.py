"""ibsuite in Python: networks of finished runs, and codes of one's own arrays, networks and modules."""

from ibsuite.python.coding import Result, code
from ibsuite.python.loading import LoadedNetwork, load

__all__ = ["LoadedNetwork", "Result", "code", "load"]
