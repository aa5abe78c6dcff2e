"""Pricing is float32 whatever the training does."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from small_runs import small_method
from torch import Tensor

from ibsuite.callbacks.pricing import full_float32


def test_pricing_under_mixed_precision_training_is_float32(fit: Callable[..., Any]) -> None:
    seen: dict[bool, set[torch.dtype]] = {True: set(), False: set()}

    class Watched(type(small_method())):  # type: ignore[misc]
        def __init__(self, *args: Any) -> None:
            super().__init__(*args)
            self.network.register_forward_hook(lambda m, _, out: seen[m.training].add(out.dtype))

    fit(
        method=Watched(small_method().network, lambda p: torch.optim.AdamW(p, lr=0.01)),
        precision="bf16-mixed",
    )
    assert seen[True] == {torch.bfloat16}
    assert seen[False] == {torch.float32}


def test_settings_of_the_matrix_product_are_put_back() -> None:
    torch.set_float32_matmul_precision("medium")
    try:
        with full_float32(torch.device("cpu")):
            assert torch.get_float32_matmul_precision() == "highest"
            assert not torch.backends.cudnn.allow_tf32
        assert torch.get_float32_matmul_precision() == "medium"
        with pytest.raises(ZeroDivisionError), full_float32(torch.device("cpu")):
            raise ZeroDivisionError
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision("highest")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_prices_batches_of_any_size_alike(fit: Callable[..., Any]) -> None:
    from ibsuite.callbacks.pricing import price
    from ibsuite.codes import codelength_bits
    from ibsuite.data import Digits

    code = fit(Digits(num_labels=400, batch_size=32), accelerator="gpu")
    trainer, rows = code.sequence.trainer, torch.arange(400)
    bits: list[float] = []
    for batch in (1, 7, 512):
        logits: Tensor = price(trainer, trainer.lightning_module, code.sequence, rows, batch_size=batch)
        bits.append(codelength_bits(logits, code.sequence.labels))
    assert bits == pytest.approx([bits[0]] * 3, rel=1e-6)
