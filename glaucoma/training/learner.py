"""What learns: the network, its optimizer, its moving average, and one step of them."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from glaucoma.errors import IntegrityError
from glaucoma.training.batching import Batch
from glaucoma.training.checkpoints import require_same_optimizer, require_same_tensors
from glaucoma.training.device import seed_torch
from glaucoma.training.ema import Average
from glaucoma.training.engine import Engine
from glaucoma.training.losses import Loss
from glaucoma.training.optimization import learning_rate, parameter_groups
from glaucoma.training.sampling import step_seed
from glaucoma.training.spec import ExperimentSpec
from glaucoma.training.validation import model_inputs

_DROPOUT = 1


class Learner:
    """The state of a training, and its step; `load` fills it before `ready` hands it to the engine."""

    def __init__(self, model: nn.Module, spec: ExperimentSpec, loss: Loss, engine: Engine, steps: int) -> None:
        """Takes `model` on its device.

        Args:
            steps: Of the whole run.
        """
        self.model, self._spec, self._loss, self._engine, self._steps = model, spec, loss, engine, steps
        self._optimizer = torch.optim.AdamW(parameter_groups(model, spec.weight_decay), lr=spec.learning_rate)
        self._average = Average(model, spec.ema_decay) if spec.ema_decay > 0 else None
        self.loss_sum = torch.zeros((), dtype=torch.float64, device=engine.device)
        """Of the images that this process has seen in this epoch."""
        self.images_seen = 0
        self.touched = False
        """Whether a checkpoint was ever loaded, or begun to be."""

    @property
    def kept(self) -> nn.Module:
        """The network that is validated and kept: the average where there is one."""
        return self.model if self._average is None else self._average.model

    @property
    def rate(self) -> float:
        """The learning rate of the last step."""
        return float(self._optimizer.param_groups[0]["lr"])

    def load(self, payload: dict[str, Any]) -> None:
        """Takes over a checkpoint's weights.

        Raises:
            IntegrityError: They are those of another network, or its optimizer's; nothing is changed then.
        """
        require_same_tensors("model", payload["model"], self.model.state_dict())
        if self._average is not None:
            require_same_tensors("moving average", payload.get("ema"), self._average.state_dict())
        require_same_optimizer(payload.get("optimizer"), self._optimizer)
        self.touched = True
        self.model.load_state_dict(payload["model"])
        self._load_optimizer(payload.get("optimizer"))
        if self._average is not None:
            self._average.load_state_dict(payload["ema"])
        self._engine.load_scaler(payload.get("scaler"))

    def ready(self, *, compiled: bool) -> None:
        """Hands network and optimizer to the engine: from here on steps can be taken."""
        self._engine.take(self.model, self._optimizer, compiled=compiled)

    def step(self, batch: Batch, step: int, micro_batch_size: int | None) -> None:
        """One step of the optimizer on this process's share of the batch.

        The gradient is that of the mean over all images of the step, however they are cut into processes and micro
        batches; what a network or a loss takes from the batch as a whole (batch statistics, the Dice of a batch) it
        takes from each part.

        Args:
            step: Of the whole run; the first is 0.
            micro_batch_size: Images at once; None: all.
        """
        engine, place = self._engine, self._engine.place
        seed_torch(step_seed(self._spec.seed, step, _DROPOUT, place.rank), engine.device)
        rate = learning_rate(self._spec.learning_rate, step, self._steps, self._spec.warm_up_share)
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        parts = list(batch.micro(micro_batch_size))
        for number, part in enumerate(parts, start=1):
            share = len(part.indices) * place.world / batch.n_step  # processes are averaged, micro batches added up
            with engine.alone(number < len(parts)):
                loss = self._loss(engine.forward(*model_inputs(part)).float(), part.targets)
                if number == 1:
                    engine.forget()
                engine.backward(loss if share == 1 else loss * share)
            self.loss_sum += loss.detach().double() * len(part.indices)
        self.images_seen += len(batch.indices)
        engine.update(self._spec.clip_norm)
        if self._average is not None:
            self._average.follow(step)

    def begin_epoch(self, loss_sum: float = 0.0, images_seen: int = 0) -> None:
        """Begins to add up an epoch's loss, or goes on from what was added up before."""
        self.loss_sum.fill_(loss_sum)
        self.images_seen = images_seen

    def share_buffers(self) -> None:
        """Gives all processes the first one's running means, so that all validate the same network."""
        self._engine.share_buffers(self.kept)

    def payload(self) -> dict[str, Any]:
        """What a checkpoint keeps of it, to go on from."""
        return {
            "model": self.model.state_dict(),
            "optimizer": self._engine.optimizer_state(),
            "ema": None if self._average is None else self._average.state_dict(),
            "scaler": self._engine.scaler_state(),
        }

    def _load_optimizer(self, state: Any) -> None:
        try:
            self._optimizer.load_state_dict(state)
        except (TypeError, KeyError, ValueError, AttributeError) as error:
            raise IntegrityError(f"its optimizer does not fit ({error})") from error
