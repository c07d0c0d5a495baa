"""Energy in Hugging Face's Trainer: Trainer(..., callbacks=[WattuneCallback()]).

Training is a window "train", each optimizer step a window "step" (evaluation and saving lie outside
of it). When this process measures, the history of the trainer's state gains an entry with the energy
of the training. Under `wattune run` the losses that the Trainer logs go to the report.
"""

from transformers import TrainerCallback

import wattune


class WattuneCallback(TrainerCallback):
    """tokens_per_step: tokens of all micro-batches of one optimizer step on this rank; None: taken
    from the Trainer, if it counts them (TrainingArguments(include_num_input_tokens_seen=True))."""

    def __init__(self, tokens_per_step=None):
        self.tokens_per_step = tokens_per_step
        self.result = None
        self._step = self._train = None
        self._seen = 0

    def _tokens(self, args, state):
        if self.tokens_per_step is not None:
            return self.tokens_per_step
        seen = state.num_input_tokens_seen or 0
        new, self._seen = int(seen) - self._seen, int(seen)
        # The Trainer has added up all ranks, and so would we: this rank's share.
        ranks = max(1, args.world_size)
        return new // ranks + (args.process_index < new % ranks)

    def _stop(self):
        for window in self._step, self._train:
            if window is not None:
                window.cancel()
        self._step = self._train = None

    def on_train_begin(self, args, state, control, **kwargs):
        self._stop()  # of a training that was broken off
        self._seen = int(state.num_input_tokens_seen or 0)  # more than 0 when it is resumed
        self._train = wattune.window("train").begin()

    def on_step_begin(self, args, state, control, **kwargs):
        if self._step is not None:
            self._step.cancel()
        self._step = wattune.window("step").begin()

    def on_step_end(self, args, state, control, **kwargs):
        if self._step is not None:
            self._step.work = self._tokens(args, state)
            self._step.end()
            self._step = None

    def on_log(self, args, state, control, logs=None, **kwargs):
        if state.is_local_process_zero and logs and "loss" in logs:
            wattune.value("loss", logs["loss"])

    def on_train_end(self, args, state, control, **kwargs):
        if self._train is None:
            return
        self._train.end()
        self.result, self._train = self._train.result, None
        self._stop()
        if self.result is not None and self.result.energy_j is not None:
            state.log_history.append(
                {
                    "energy_j": self.result.energy_j,
                    "energy_low_j": self.result.low_j,
                    "energy_high_j": self.result.high_j,
                    "energy_provenance": self.result.provenance,
                    "step": state.global_step,
                }
            )
