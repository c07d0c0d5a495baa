"""Energy in Hugging Face's Trainer: Trainer(..., callbacks=[WattuneCallback()]).

Each optimizer step is a window "step"; its tokens are counted from the inputs when the Trainer says
how many it has seen, else from batch size and sequence length if given. Logs gain energy_j and
j_per_token when this process measures (see wattune.window).
"""

from transformers import TrainerCallback

import wattune


class WattuneCallback(TrainerCallback):
    """tokens_per_step: tokens of all micro-batches of one optimizer step on this rank; None: taken
    from state.num_input_tokens_seen (needs include_num_input_tokens_seen=True)."""

    def __init__(self, tokens_per_step=None):
        self.tokens_per_step = tokens_per_step
        self._step = self._run = None
        self._seen = 0

    def _tokens(self, state):
        if self.tokens_per_step is not None:
            return self.tokens_per_step
        seen = getattr(state, "num_input_tokens_seen", 0) or 0
        new, self._seen = seen - self._seen, seen
        return new or None

    def on_train_begin(self, args, state, control, **kwargs):
        self._run = wattune.window("train")
        self._run.__enter__()

    def on_step_begin(self, args, state, control, **kwargs):
        self._step = wattune.window("step")
        self._step.__enter__()

    def on_step_end(self, args, state, control, **kwargs):
        if self._step is not None:
            self._step.work = self._tokens(state)
            self._step.__exit__(None, None, None)
            self._step = None

    def on_log(self, args, state, control, logs=None, **kwargs):
        if logs and "loss" in logs:
            wattune.value("loss", logs["loss"])

    def on_train_end(self, args, state, control, **kwargs):
        if self._run is None:
            return
        self._run.__exit__(None, None, None)
        result, self._run = self._run.result, None
        if result is not None and result.energy_j is not None and state.log_history is not None:
            state.log_history.append(
                {"energy_j": result.energy_j, "energy_provenance": result.provenance}
            )
