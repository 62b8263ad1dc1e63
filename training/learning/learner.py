"""Epochs of mining and gradient steps, which can be stopped after any step and go on from there."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from time import monotonic
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import Tensor
from tqdm import tqdm

from training.learning.augmentation import Augmentation, apply_changes
from training.learning.inputs import Load, Part
from training.learning.loss import ranking_loss
from training.learning.mining import (
    Mining,
    Tuples,
    candidate_similarities,
    choose_tuples,
    draw_candidates,
)
from training.learning.network import Network
from training.learning.optimisation import Optimisation
from training.learning.similarity import Encode, Numbers
from training.learning.supervision import Supervision
from training.learning.tuple_batch import TupleBatch, share_of_batch
from vpr_ros.threads.ahead import ahead

#: Descriptors of so many queries are held while mining; a longer period is mined in parts.
MOST_QUERIES = 8192
#: What random numbers are for. With the seed and the place in the run they are the whole random state.
ORDER, NEGATIVES, AUGMENTATION = 0, 1, 2
#: Steps between two looks at whether another process was asked to stop.
AGREE_EVERY = 10


class Learner:
    """Trains a network; each process of several trains with its share of every batch.

    Args:
        fabric: devices and processes.
        network: on the device, the same in all processes.
        supervision: of the training images.
        load: what gradient steps see of a row; pixels where there is augmentation.
        encode: what mining sees of it.
        optimisation: of the weights.
        mining: of the negatives.
        augmentation: of the images of gradient steps.
        seed: of the order, the negatives and the augmentation.
        threads: that load ahead.
    """

    def __init__(
        self,
        fabric: Fabric,
        network: Network,
        supervision: Supervision,
        load: Load,
        encode: Encode,
        optimisation: Optimisation,
        mining: Mining,
        augmentation: Augmentation,
        seed: int,
        threads: int,
    ) -> None:
        self._fabric, self._network, self._supervision = fabric, network, supervision
        self._load, self._encode, self._threads = load, encode, threads
        self._optimisation, self._mining, self._augmentation = optimisation, mining, augmentation
        self._seed = seed
        self._optimiser = optimisation.build(network)
        self._remembered: dict[int, Numbers] = {}
        self._parameters = list(network.parameters())
        self._mean = [parameter.detach().clone() for parameter in self._parameters]
        self.epoch = 0
        self.step = 0
        self._begin()

    def _begin(self) -> None:
        self._done = 0  # queries of this epoch that were trained with
        self._tuples: Tuples | None = None  # of the period under way
        self._first = 0  # query of this epoch that the period began with
        self._violating = 0  # queries of this epoch with a violating negative under cached features
        # loss, triplets, and those of them that still violate with fresh features
        self._sums = torch.zeros(3, dtype=torch.float64, device=self._network.device)
        self._seconds = {"mining": 0.0, "training": 0.0}

    def train_epoch(self, stop: Callable[[], bool], save: Callable[[], None]) -> dict[str, float]:
        """Train with the queries that this epoch has left; return its figures.

        Args:
            stop: whether to stop; asked after every step.
            save: called where a run may be gone on with: after mining, at the latest every `MOST_QUERIES`.

        Raises:
            KeyboardInterrupt: it was to stop; `state` is what to go on with.
        """
        halvings = self._optimisation.halvings(self.epoch)
        rate = self._optimisation.learning_rate * 0.5**halvings
        for group in self._optimiser.param_groups:
            group["lr"] = rate
        period = min(self._mining.refresh_every * 2**halvings, MOST_QUERIES)
        order = self._random(ORDER).permutation(self._supervision.queries)
        description = f"epoch {self.epoch + 1}/{self._optimisation.epochs}"
        with tqdm(
            total=len(order), desc=description, unit="tuple", leave=False, disable=self._quiet
        ) as progress:
            progress.update(self._done)
            while self._done < len(order):
                if self._tuples is None:
                    self._mine(order[self._done : self._done + period])
                    save()
                    self._check(stop)
                self._train_period(stop, progress)
                self._tuples = None
        loss, triplets, still = self._sums.tolist()
        seconds = self._seconds
        return {
            "loss": loss / len(order),
            "violating": self._violating / len(order),
            "triplets": triplets / len(order),
            "still_violating": still / max(1.0, triplets),
            "learning_rate": rate,
            "mining_seconds": seconds["mining"],
            "training_seconds": seconds["training"],
        }

    def next_epoch(self) -> None:
        """Go to the beginning of the next epoch."""
        self.epoch += 1
        self._begin()

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """Let the network have the running mean of its weights, where there is one, for a while."""
        if not self._optimisation.average:
            yield
            return
        own = [parameter.detach().clone() for parameter in self._parameters]
        self._set(self._mean)
        try:
            yield
        finally:
            self._set(own)

    @torch.no_grad()
    def _set(self, values: list[Tensor]) -> None:
        for parameter, value in zip(self._parameters, values, strict=True):
            parameter.copy_(value)

    def state(self) -> dict[str, Any]:
        """Return what is needed to go on from here: tensors, numbers, lists and dicts of them."""
        tuples = self._tuples
        return {
            "network": self._network.state_dict(),
            "mean": self._mean if self._optimisation.average else [],
            "optimiser": self._optimiser.state_dict(),
            "epoch": self.epoch,
            "step": self.step,
            "done": self._done,
            "first": self._first,
            "violating": self._violating,
            "sums": self._sums,
            "seconds": self._seconds,
            "remembered": {query: torch.from_numpy(rows) for query, rows in self._remembered.items()},
            "tuples": None
            if tuples is None
            else {
                "queries": torch.from_numpy(tuples.queries),
                "positives": torch.from_numpy(tuples.positives),
                "negatives": [torch.from_numpy(rows) for rows in tuples.negatives],
            },
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go to where `state` was taken."""
        self._network.load_state_dict(state["network"])
        for mean, saved in zip(self._mean, state["mean"], strict=False):
            mean.copy_(saved)
        self._optimiser.load_state_dict(state["optimiser"])
        self.epoch, self.step, self._done = state["epoch"], state["step"], state["done"]
        self._first, self._violating, self._seconds = state["first"], state["violating"], state["seconds"]
        self._sums = state["sums"].to(self._network.device)
        self._remembered = {query: rows.numpy() for query, rows in state["remembered"].items()}
        if (tuples := state["tuples"]) is not None:
            negatives = [rows.numpy() for rows in tuples["negatives"]]
            self._tuples = Tuples(tuples["queries"].numpy(), tuples["positives"].numpy(), negatives, [])

    @property
    def _quiet(self) -> bool:
        return self._fabric.global_rank > 0

    def _random(self, purpose: int, *place: int) -> np.random.Generator:
        return np.random.default_rng([self._seed, purpose, self.epoch, *place])

    def total(self, tensor: Tensor) -> Tensor:
        """Return the sum of a tensor over the processes."""
        if self._fabric.world_size == 1:
            return tensor
        summed = self._fabric.all_reduce(tensor, reduce_op="sum")
        assert isinstance(summed, Tensor)  # noqa: S101  for mypy: it may reduce other things too
        return summed

    def _check(self, stop: Callable[[], bool]) -> None:
        """Raise KeyboardInterrupt if any process was asked to stop; all of them have to ask."""
        asked = stop()
        if self._fabric.world_size > 1:
            asked = bool(self.total(torch.tensor(float(asked), device=self._network.device)) > 0)
        if asked:
            raise KeyboardInterrupt

    def _mine(self, queries: Numbers) -> None:
        start = monotonic()
        random = self._random(NEGATIVES, self._done)
        candidates = draw_candidates(self._supervision, queries, self._remembered, self._mining.drawn, random)
        share = self._fabric.global_rank, self._fabric.world_size
        similarity = candidate_similarities(
            candidates, self._encode, self._network.dimension, self._network.device, share, self.total
        )
        self._tuples = choose_tuples(candidates, similarity, self._mining, self._optimisation.margin)
        self._first = self._done
        self._violating += sum(len(negatives) > 0 for negatives in self._tuples.negatives)
        self._remembered |= dict(zip(queries.tolist(), self._tuples.hardest, strict=True))
        self._seconds["mining"] += monotonic() - start

    def _train_period(self, stop: Callable[[], bool], progress: tqdm) -> None:
        begun = monotonic()
        loaded = ahead(self._load_batch, self._batches(), self._threads, 2 * self._threads)
        with closing(loaded):
            for batch, parts in loaded:
                if not batch.empty:
                    self._train_step(batch, parts)
                self._done += batch.size
                self.step += 1
                progress.update(batch.size)
                if self._fabric.world_size == 1 or self.step % AGREE_EVERY == 0:
                    self._check(stop)
        self._seconds["training"] += monotonic() - begun

    def _batches(self) -> Iterator[TupleBatch]:
        """Yield this process's share of what is left of the period, batch by batch."""
        assert self._tuples is not None  # noqa: S101
        share = self._fabric.global_rank, self._fabric.world_size
        count, size = len(self._tuples.queries), self._optimisation.batch
        for start in range(self._done - self._first, count, size):
            random = self._random(AUGMENTATION, self._first + start)
            yield share_of_batch(
                self._tuples, start, min(start + size, count), share, self._augmentation, random
            )

    def _load_batch(self, batch: TupleBatch) -> list[Part]:
        return self._load(batch.rows) if len(batch.rows) else []

    def _train_step(self, batch: TupleBatch, parts: list[Part]) -> None:
        self._optimiser.zero_grad()
        # without a tuple of its own, it waits for the others' gradient
        figures = self._backward(batch, parts) if parts else torch.zeros(3, device=self._network.device)
        gradients = [
            torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
            for parameter in self._parameters
        ]
        if self._fabric.world_size > 1:
            flat = torch.cat([*(gradient.flatten() for gradient in gradients), figures])
            flat = self.total(flat)
            *gradients, figures = torch.split(flat, [*(each.numel() for each in gradients), len(figures)])
        violating = figures[2].clamp(min=1)
        for parameter, gradient in zip(self._parameters, gradients, strict=True):
            parameter.grad = gradient.view_as(parameter) / violating
        self._optimiser.step()
        if self._optimisation.average:
            for mean, parameter in zip(self._mean, self._parameters, strict=True):
                mean.lerp_(parameter.detach(), 1 - self._optimisation.average)
        self._sums += figures

    def _backward(self, batch: TupleBatch, parts: list[Part]) -> Tensor:
        """Add up the gradient of this process's tuples; return loss, triplets, those that still violate."""
        descriptors = torch.cat([self._network(self._inputs(batch, part)) for part in parts])
        order = np.argsort(np.concatenate([part.positions for part in parts]))
        descriptors = descriptors[self._there(order)]
        queries = self._there(batch.queries)
        loss, shares = ranking_loss(
            descriptors[queries],
            descriptors[queries + 1],
            descriptors[self._there(batch.negatives)],
            self._there(batch.owners),
            self._optimisation.margin,
        )
        loss.backward()  # type: ignore[no-untyped-call]
        count = loss.new_tensor(len(shares))
        return torch.stack([loss.detach(), count, (shares > 0).sum()])

    def _inputs(self, batch: TupleBatch, part: Part) -> Tensor:
        if not self._augmentation:
            return self._network.accept(part.inputs)
        images = part.inputs.to(self._network.device, non_blocking=True)
        return self._network.features(apply_changes(images, batch.changes.of(part.positions)))

    def _there(self, numbers: Numbers) -> Tensor:
        return torch.from_numpy(numbers).to(self._network.device, non_blocking=True)
