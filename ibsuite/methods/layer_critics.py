"""The two critics that a layer is trained with."""

from torch import nn

from ibsuite.information import LabelCritic


class LayerCritics(nn.Module):
    """The critics of one layer: D_y of the labels and D_x of the inputs.

    Args:
        d_y: scores L with classes.
        d_x: scores F(x) with L + noise.
    """

    def __init__(self, d_y: LabelCritic, d_x: nn.Module) -> None:
        super().__init__()
        self.d_y, self.d_x = d_y, d_x

    def reset_parameters(self) -> None:
        """Draw a fresh initialisation from torch's global generator."""
        for module in self.modules():
            if module is not self and callable(reset := getattr(module, "reset_parameters", None)):
                reset()
