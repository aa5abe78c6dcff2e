"""Carlini and Wagner's attack: the least change of a linear classifier; a sentence where it is missing."""

import sys

import pytest
import torch
from torch import Tensor

from ibsuite.attacks import carlini_wagner_l2, perturbation_norm
from ibsuite.interface import Refusal

W = torch.randn(12, generator=torch.Generator().manual_seed(2))


def logits(x: Tensor) -> Tensor:
    score = (x.flatten(1) - 0.5) @ W
    return torch.stack([score, -score], 1)


def test_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "foolbox", None)
    with pytest.raises(Refusal, match=r"pip install 'ibsuite\[attacks\]'"):
        carlini_wagner_l2(logits, torch.rand(2, 1, 3, 4), torch.zeros(2, dtype=torch.int64))


@pytest.mark.parametrize("targeted", [False, True])
def test_the_least_change_of_a_linear_classifier_is_its_distance(targeted: bool) -> None:
    pytest.importorskip("foolbox")
    x = 0.4 + 0.2 * torch.rand(6, 1, 3, 4, generator=torch.Generator().manual_seed(1))
    y = logits(x).argmax(1)
    changed = carlini_wagner_l2(logits, x, 1 - y if targeted else y, targeted, steps=300)
    assert (logits(changed).argmax(1) != y).all()
    distance = ((x.flatten(1) - 0.5) @ W).abs() / W.norm()
    found = perturbation_norm(changed - x, "l2")
    assert (found >= distance - 1e-6).all()
    torch.testing.assert_close(found, distance, rtol=0.1, atol=2e-3)
    assert 0 <= float(changed.min()) <= float(changed.max()) <= 1
