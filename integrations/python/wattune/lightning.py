"""Energy in PyTorch Lightning: Trainer(callbacks=[WattuneCallback()]).

Training is a window "train", each training batch a window "batch"; a batch after which the optimizer
has stepped counts a step. When this process measures, the loggers get the energy of the training.
"""

try:
    from lightning.pytorch.callbacks import Callback
except ImportError:
    from pytorch_lightning.callbacks import Callback

import wattune


class WattuneCallback(Callback):
    """tokens_of: a function from a batch to its tokens on this rank; None: only steps count."""

    def __init__(self, tokens_of=None):
        self.tokens_of = tokens_of
        self.result = None
        self._batch = self._train = None
        self._steps = 0

    def _stop(self):
        for window in self._batch, self._train:
            if window is not None:
                window.cancel()
        self._batch = self._train = None

    def on_train_start(self, trainer, pl_module):
        self._stop()
        self._steps = trainer.global_step  # more than 0 when it is resumed
        self._train = wattune.window("train").begin()

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        self._batch = wattune.window("batch").begin()

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        if self._batch is None:
            return
        self._batch.work = self.tokens_of(batch) if self.tokens_of else None
        self._batch.end()
        self._batch = None
        # Several optimizers each count there; accumulated batches do not.
        if trainer.global_step > self._steps:
            self._steps = trainer.global_step
            wattune.count(steps=1)

    def on_exception(self, trainer, pl_module, exception):
        self._stop()

    def on_train_end(self, trainer, pl_module):
        if self._train is None:
            return
        self._train.end()
        self.result, self._train = self._train.result, None
        self._stop()
        if self.result is not None and self.result.energy_j is not None:
            energy = {
                "energy_j": self.result.energy_j,
                "energy_low_j": self.result.low_j,
                "energy_high_j": self.result.high_j,
            }
            for logger in trainer.loggers:
                logger.log_metrics(energy, step=trainer.global_step)
