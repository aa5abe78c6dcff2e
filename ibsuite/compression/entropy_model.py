"""What integers will cost an adaptive entropy coder, as a function that can be differentiated."""

import torch
from torch import Tensor, nn

INITIAL_SCALES = (0.1, 0.5, 2.0)


class LogisticMixture(nn.Module):
    """Length of the integers of one tensor under a mixture of zero-mean logistic distributions, nats.

    P(k) = sum_j w_j [F(k + 1/2; s_j) - F(k - 1/2; s_j)], F(x; s) = 1 / (1 + exp(-x / s)): the mass of the
    cell around k. The weights w and the scales s are trained along; they are not sent, for an adaptive
    coder finds the frequencies of the integers by itself. Where k is replaced by k + u, u uniform
    in (-1/2, 1/2), the expectation has a gradient everywhere (Balle, Laparra & Simoncelli 2017).

    A narrow component is the share of zeros; a wide one is what large weights cost.
    """

    def __init__(self) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.empty(len(INITIAL_SCALES)))
        self.log_scales = nn.Parameter(torch.empty(len(INITIAL_SCALES)))
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Equal weights, and a narrow, a middling and a wide component."""
        self.logits.zero_()
        self.log_scales.copy_(torch.tensor(INITIAL_SCALES).log())

    def forward(self, k: Tensor) -> Tensor:
        """Length of every entry of ``k``, whole or not, nats, of its shape."""
        distance, scales = k.abs()[..., None], self.log_scales.exp()
        # Both ends of the cell in the tail beyond zero, where differences of F keep their digits.
        near = nn.functional.logsigmoid((0.5 - distance) / scales)
        far = nn.functional.logsigmoid((-0.5 - distance) / scales)
        cell = near + torch.log1p(-(far - near).exp())
        return -torch.logsumexp(cell + self.logits.log_softmax(0), -1)
