"""When to stop training a block early, judged by labels already sent."""

import torch
from torch import Tensor

from ibsuite.interface import Refusal


class StopRule:
    """Stop when a validation part of the labels already sent has stopped getting shorter.

    The part is withheld from training. It never holds a label that is still to be coded, so the
    receiver can apply the same rule.

    Args:
        patience: stops in a row without improvement before the training ends.
        share: share of the labels already sent that is withheld.
    """

    def __init__(self, patience: int = 2, share: float = 0.1) -> None:
        if patience < 1 or not 0 < share <= 0.5:
            raise Refusal(
                f"code.patience must be at least 1 and code.withheld in (0, 0.5], got {patience} and {share}"
            )
        self.patience, self.share = patience, share
        self.restart()

    def restart(self) -> None:
        """Forget the training before."""
        self.best_bits, self.waited = float("inf"), 0

    def split(self, prefix: int) -> tuple[Tensor, Tensor]:
        """Positions to train on and positions withheld, among the first ``prefix``."""
        rows = torch.arange(prefix)
        # Evenly spread: row i is withheld where the running count of withheld labels goes up.
        withheld = ((rows + 1) * self.share + 1e-9).floor() > (rows * self.share + 1e-9).floor()
        return rows[~withheld], rows[withheld]

    def should_stop(self, withheld_bits: float) -> bool:
        """Judge one more stop by the codelength of the withheld labels, bits."""
        if withheld_bits < self.best_bits:
            self.best_bits, self.waited = withheld_bits, 0
        else:
            self.waited += 1
        return self.waited >= self.patience

    def state_dict(self) -> dict[str, float]:
        """What ``load_state_dict`` needs."""
        return {"best_bits": self.best_bits, "waited": self.waited}

    def load_state_dict(self, state: dict[str, float]) -> None:
        """Continue judging a training."""
        self.best_bits, self.waited = state["best_bits"], int(state["waited"])
