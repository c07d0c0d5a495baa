"""Energy in PyTorch Lightning: Trainer(callbacks=[WattuneCallback()]).

Each training batch is a window "step"; tokens are counted by tokens_of(batch) when given.
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
        self._step = self._fit = None

    def on_train_start(self, trainer, pl_module):
        self._fit = wattune.window("train")
        self._fit.__enter__()

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        self._step = wattune.window("step", work=self.tokens_of(batch) if self.tokens_of else None)
        self._step.__enter__()

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        if self._step is not None:
            self._step.__exit__(None, None, None)
            self._step = None

    def on_train_end(self, trainer, pl_module):
        if self._fit is None:
            return
        self._fit.__exit__(None, None, None)
        result, self._fit = self._fit.result, None
        if result is not None and result.energy_j is not None and trainer.logger is not None:
            trainer.logger.log_metrics({"energy_j": result.energy_j}, step=trainer.global_step)
