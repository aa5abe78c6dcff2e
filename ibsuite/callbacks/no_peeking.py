"""Refusing callbacks that would look at labels which have not been sent."""

import lightning.pytorch as L

from ibsuite.interface import Refusal

PRICED = ("code/", "test/")
"""Prefixes of logged quantities that depend on labels not yet sent when they would be used."""


def refuse_peeking(trainer: L.Trainer) -> None:
    """Refuse, by name, every callback or scheduler that monitors a priced quantity.

    Stopping, choosing or scheduling by the price of a block makes its predictor depend on the very
    labels that it is about to code; nobody could decode them.
    """
    watchers = [(type(c).__name__, getattr(c, "monitor", None)) for c in trainer.callbacks]  # type: ignore[attr-defined]
    watchers += [
        (type(c.scheduler).__name__, c.monitor) for c in trainer.lr_scheduler_configs if c.reduce_on_plateau
    ]
    for name, monitor in watchers:
        if monitor and str(monitor).startswith(PRICED):
            raise Refusal(
                f"{name} monitors {monitor!r}, which is priced on labels not yet sent; "
                "use code.patience, which judges by labels already sent"
            )
