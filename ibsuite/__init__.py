"""ibsuite: what deep networks know, measured in bits."""

__version__ = "0.2.0"
