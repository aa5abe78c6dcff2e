"""Fewer and coarser numbers for the same network: pruning, quantisation, random subspaces."""

__all__: list[str] = []
