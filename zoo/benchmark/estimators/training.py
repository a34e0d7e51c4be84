"""One cell of the table: a model that an estimator trains at a learning rate from a seed."""

import copy
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch as th
from torch import Tensor

from dreamzoo.benchmark.estimators.digits import Digits
from dreamzoo.benchmark.estimators.models import TASKS, DiscreteModel
from dreamzoo.nn.estimators import (
    DARN,
    Estimator,
    ExponentialSteps,
    GrowingSlope,
    GumbelSoftmax,
    MuProp,
    ScoreFunction,
    SlopeAnnealed,
    StraightThrough,
)
from dreamzoo.nn.settings import Whole, read_settings

#: The seven of table 1, in its order. The first and the third are centered and normalized; section
#: 4 found that to be necessary for these and for DARN, which is not normalized here.
ESTIMATORS: dict[str, Callable[[], Estimator]] = {
    "score": lambda: ScoreFunction(normalize=True),
    "darn": DARN,
    "muprop": lambda: MuProp(normalize=True),
    "st": StraightThrough,
    "slope": SlopeAnnealed,
    "gumbel": GumbelSoftmax,
    "st_gumbel": lambda: GumbelSoftmax(hard=True),
}
#: Section 4.2 chooses r of {1e-5, 1e-4} and N of {500, 1000} on validation. With a tenth of its
#: updates the lower rate would never come near the floor.
TEMPERATURE = ExponentialSteps(rate=1e-4, every=500, floor=0.5)


@dataclass(frozen=True)
class Effort:
    """
    How long a cell is trained and how closely it is looked at; all whole numbers of at least 1.

    :param epochs: at most
    :param patience: epochs without a better bound on validation after which training ends
    :param valid_every: epochs between validations; there is one at the end, too
    :param valid_samples: importance samples of a validation
    :param test_samples: importance samples of the test (the paper's m)
    :param batch_size: images in an update (MuProp's; the paper does not say)
    """

    epochs: int = 400
    patience: int = 100
    valid_every: int = 10
    valid_samples: int = 10
    test_samples: int = 1_000
    batch_size: int = 100

    def __post_init__(self) -> None:
        read_settings("Effort", dict.fromkeys(vars(self), Whole(1)), vars(self))


class Cell(NamedTuple):
    """
    What is trained.

    :param task: of :data:`TASKS`
    :param kind: of layers, "bernoulli" or "categorical"
    :param estimator: of :data:`ESTIMATORS`
    :param rate: learning rate
    :param seed: of initial weights, the order of images and samples
    """

    task: str
    kind: str
    estimator: str
    rate: float
    seed: int


class Outcome(NamedTuple):
    """
    What became of a cell.

    :param epochs: trained
    :param best_epoch: with the lowest bound on validation, whose weights are tested
    :param train: one-sample loss in the epochs before it, nats an image; soft where samples are
    :param valid: its bound on validation, nats
    :param test: its bound on the test's images with many samples, nats
    :param seconds: of processor time
    """

    epochs: int
    best_epoch: int
    train: float
    valid: float
    test: float
    seconds: float


def anneal(estimator: Estimator, task: str, update: int, epoch_updates: int) -> None:
    """
    Set temperature and slope before an update.

    Structured prediction keeps the temperature 1 (section 4.1); slopes grow by 0.04 an epoch.

    :param estimator: whose temperature or slope, if it has one
    :param task: of :data:`TASKS`
    :param update: number of the update
    :param epoch_updates: updates in an epoch
    """
    if isinstance(estimator, GumbelSoftmax) and task == "vae":
        estimator.temperature = TEMPERATURE(update)
    elif isinstance(estimator, SlopeAnnealed):
        estimator.slope = GrowingSlope(every=epoch_updates)(update)


class Trainer:
    """
    Trains the model of a cell.

    Example:
        >>> from dreamzoo.benchmark.estimators.digits import synthetic_digits
        >>> from dreamzoo.benchmark.estimators.training import Cell, Effort, Trainer
        >>> cell = Cell("sbn", "bernoulli", "st", rate=0.01, seed=0)
        >>> trainer = Trainer(cell, synthetic_digits(), Effort(epochs=2, valid_every=1))
        >>> outcome = trainer.run()
        >>> outcome.epochs, 0.0 < outcome.test < 392.0
        (2, True)

    :param cell: what is trained
    :param digits: with what
    :param effort: how long
    """

    def __init__(self, cell: Cell, digits: Digits, effort: Effort) -> None:
        self.cell, self.digits, self.effort = cell, digits, effort
        with th.random.fork_rng(devices=[]):
            th.manual_seed(cell.seed)
            self.model: DiscreteModel = TASKS[cell.task](cell.kind)
        self.estimator = ESTIMATORS[cell.estimator]()
        parameters = self.model.parameters()
        self.optimizer = th.optim.SGD(parameters, lr=cell.rate, momentum=0.9, fused=True)
        self.generator = th.Generator().manual_seed(cell.seed)
        self.updates = 0

    def run(self) -> Outcome:
        """
        Train until the bound on validation gets no better, and test the best weights.

        :return: its bounds are infinite if training diverged before the first validation
        """
        effort, began = self.effort, time.process_time()
        best, best_epoch, train, weights = math.inf, 0, math.inf, self._weights()
        losses: list[Tensor] = []
        epoch = 0
        while epoch < (end := min(effort.epochs, best_epoch + effort.patience)):
            losses.append(self.train_epoch())
            epoch += 1
            if epoch % effort.valid_every and epoch < end:
                continue
            valid = self._bound(self.digits.valid, effort.valid_samples)
            if not math.isfinite(valid):
                break  # the learning rate is too high
            if valid < best:
                best, best_epoch, weights = valid, epoch, self._weights()
                train = th.stack(losses).mean().item()
            losses.clear()
        self.model.load_state_dict(weights)
        has_learned = math.isfinite(best)
        test = self._bound(self.digits.test, effort.test_samples) if has_learned else math.inf
        return Outcome(epoch, best_epoch, train, best, test, time.process_time() - began)

    def train_epoch(self) -> Tensor:
        """Make an update with every batch; return the mean loss, nats an image."""
        images, size = self.digits.train, self.effort.batch_size
        batches = th.randperm(len(images), generator=self.generator).split(size)
        losses = [self.update(images[batch], len(batches)) for batch in batches]
        return th.stack(losses).mean()

    def update(self, images: Tensor, epoch_updates: int) -> Tensor:
        """
        Make one update.

        :param images: (B, 784)
        :param epoch_updates: updates in an epoch
        :return: mean loss of one sample, nats an image
        """
        anneal(self.estimator, self.cell.task, self.updates, epoch_updates)
        estimate = self.model.estimate(images, self.estimator, self.generator)
        self.optimizer.zero_grad()
        estimate.surrogate.mean().backward()
        self.optimizer.step()
        self.updates += 1
        return estimate.loss.mean()

    def _weights(self) -> dict[str, Tensor]:
        return copy.deepcopy(self.model.state_dict())

    def _bound(self, images: Tensor, samples: int) -> float:
        # The same noise every time: bounds of several epochs differ by the weights alone.
        generator = th.Generator().manual_seed(self.cell.seed)
        return self.model.bound(images, samples, generator).mean().item()
