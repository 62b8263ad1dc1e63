"""A run: from tables of geotagged images to the best weights, interrupted and gone on with at will."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from hashlib import sha256
from typing import Any, cast

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import Tensor

from training.learning.augmentation import Augmentation
from training.learning.checkpoint import save_checkpoint
from training.learning.encode import encode_once, encode_rows, followed_by
from training.learning.history import Figures, History, Log, recall_words
from training.learning.initialise import (
    IN_ALL,
    PER_IMAGE,
    WHITENING_IMAGES,
    Whiten,
    sample_local,
    sample_rows,
    with_whitening,
)
from training.learning.inputs import GIB, Budget, Cache, Features, Load, Pixels
from training.learning.interrupt import stoppable
from training.learning.learner import Learner
from training.learning.mining import Mining
from training.learning.model import Model, TiedNetVLAD
from training.learning.network import Network
from training.learning.optimisation import Optimisation
from training.learning.run_folder import RunFolder, check_same
from training.learning.similarity import Encode, Numbers, Share, Total
from training.learning.supervision import Radii, Supervision
from training.learning.validation import Validation
from vpr_ros.encoder import Encoder, load_encoder, save_encoder
from vpr_ros.geotagged import GeotaggedImages, Rows
from vpr_ros.netvlad import NetVLAD

logger = logging.getLogger(__name__)

#: Threads that read images, or features from a file, ahead of their use.
THREADS = min(8, os.cpu_count() or 1)


#: Validations beside the one that the best epoch is chosen by, of the validation table's rows.
Watch = Callable[[Rows], Mapping[str, Validation]]


class TrainingRun:
    """One run, in each of its processes alike.

    Args:
        fabric: launched.
        folder: of the run.
        images: to train on.
        validation: to choose the best epoch by.
        model: what is trained.
        radii: what geotags say of two images.
        mining: of negatives.
        optimisation: of the weights.
        augmentation: of training images.
        cache: of features and pixels.
        validation_radius: metres within which a retrieved validation image is right.
        seed: of everything random.
        state: a checkpoint to go on from.
        trained_on: in words, for the weights files.
        options: which a run may not change when it goes on.
        closing: is to be closed at the end, whatever that is: removes what only the running program needs.
        watch: other validations, for the history alone.

    Raises:
        InputError: the data do not allow it; it says why.
    """

    def __init__(
        self,
        fabric: Fabric,
        folder: RunFolder,
        images: GeotaggedImages,
        validation: GeotaggedImages,
        model: Model,
        radii: Radii,
        mining: Mining,
        optimisation: Optimisation,
        augmentation: Augmentation,
        cache: Cache,
        validation_radius: float,
        seed: int,
        state: Mapping[str, Any] | None,
        trained_on: str,
        options: Mapping[str, Any],
        closing: ExitStack,
        watch: Watch = lambda rows: {},
    ) -> None:
        self._fabric, self._folder, self._seed = fabric, folder, seed
        self._epochs, self._trained_on, self._options = optimisation.epochs, trained_on, dict(options)
        self._quiet = fabric.global_rank > 0
        self._stop: Callable[[], bool] = lambda: False
        self._closing = closing
        self._encoder = model.build().to(fabric.device)
        self._network = Network(self._encoder, model.first_trained(self._encoder), fabric.autocast)
        memory = Budget(int(cache.memory * GIB / fabric.world_size))
        from_features = cache.features and self._network.frozen_layers > 0
        # features alone are asked for again and again, but where images are augmented
        pixel_memory = Budget(0) if from_features and not augmentation else memory
        trained, judged = (
            Pixels(table, self._encoder.fit_size, pixel_memory) for table in (images, validation)
        )
        for pixels in (trained, judged):
            pixels.drop_unreadable(THREADS, self._quiet)
        if model.weights is None:
            _say_enlarged(trained.shorter_side, model.input_size)
        self._count = len(trained.images)
        self._options["images"] = _identity(trained.images, judged.images)
        if state is not None:
            check_same(state["options"], self._options, folder.folder)
        supervision = Supervision(trained.images.rows, radii)
        self._validation = Validation(judged.images.rows, validation_radius)
        self._watch = watch(judged.images.rows)
        _say_counts(self._count, supervision, len(judged.images), self._validation)
        self._see: dict[str, Load] = {"training": trained, "validation": judged}
        if from_features:
            self._see["training"] = self._features("training", trained, memory)
            self._see["validation"] = self._features("validation", judged, memory)
        if state is None and model.weights is None:
            self._initialise(model.initialisation)
        if model.assignment == "tied":
            self._network.pooling = TiedNetVLAD(cast(NetVLAD, self._network.pooling))
        self._learner = Learner(
            fabric,
            self._network,
            supervision,
            trained if augmentation else self._see["training"],
            self._encode("training", "mining"),
            optimisation,
            mining,
            augmentation,
            seed,
            THREADS,
        )
        self._history = History([], self._validation.asked)
        if state is not None:
            self._learner.restore(state["learner"])
            self._history = History(state["history"], self._validation.asked)

    def train(self, patience: int) -> None:
        """Train until the last epoch, or until none of so many is better than the best before; 0 for all.

        Raises:
            KeyboardInterrupt: it was asked to stop, and has written its checkpoint.
        """
        log = None if self._quiet else Log(self._folder, self._history)
        with stoppable() as self._stop:
            try:
                if not self._history.entries:
                    self._record({}, log)
                while len(self._history.entries) <= self._epochs and not self._history.stale(patience):
                    self._record(self._learner.train_epoch(self._stop, self._save), log)
            except KeyboardInterrupt:
                self._save()
                raise
            finally:
                if log is not None:
                    log.close()

    def finish(self, whiten: Whiten) -> None:
        """Write the best weights with a whitening fitted to training images; the first process does."""
        if not self._quiet:
            self._encoder.load_state_dict(load_encoder(self._folder.best).state_dict())
            result = self._whitened(whiten)
            save_encoder(result, self._folder.weights, self._trained_on, half=True)
            plain = self._encode("validation", "validation")
            encode = followed_by(plain, result.whitening, self._network.device)
            figures = self._judge(encode, result.dimension)
            self._history.whitened = figures
            self._history.write(self._folder, self._title)
            print(
                f"{self._folder.weights}: best after epoch {self._history.best}, {result.dimension} "
                f"dimensions; on validation {recall_words(figures)}"
            )
        self._fabric.barrier()

    @property
    def _title(self) -> str:
        architecture = self._encoder.architecture
        return f"{self._folder.folder.name}: {architecture.trunk}, {architecture.pooling}"

    def _features(self, name: str, pixels: Pixels, memory: Budget) -> Features:
        file = self._folder.cache / f"{name}-{self._fabric.global_rank}.bin"
        features = Features(pixels, self._network, memory, file, THREADS, self._quiet)
        self._closing.callback(features.close)
        return features

    def _encode(self, name: str, what: str) -> Encode:
        def check() -> None:
            if self._fabric.world_size == 1 and self._stop():  # several stop between two steps, together
                raise KeyboardInterrupt

        return encode_rows(self._network, self._see[name], THREADS, what, self._quiet, check)

    def _initialise(self, version: str) -> None:
        """Initialise a NetVLAD by k-means, alike in all processes; other poolings have nothing to learn."""
        pooling = self._network.pooling
        if not isinstance(pooling, NetVLAD):
            return
        random = np.random.default_rng(self._seed)
        rows = sample_rows(self._count, IN_ALL // PER_IMAGE, random)
        pooling.initialise(sample_local(self._maps(rows), random), version, self._seed)
        if self._fabric.world_size > 1:  # k-means need not end alike everywhere
            for tensor in pooling.state_dict().values():
                own = tensor if self._fabric.global_rank == 0 else torch.zeros_like(tensor)
                tensor.copy_(cast(Tensor, self._fabric.all_reduce(own, reduce_op="sum")))

    def _maps(self, rows: Numbers) -> Iterator[Tensor]:
        for row in rows:
            for part in self._see["training"](np.array([row])):
                with torch.no_grad():
                    yield self._network.local(self._network.accept(part.inputs))

    def _save(self) -> None:
        if not self._quiet:
            state = {"learner": self._learner.state(), "history": self._history.entries}
            save_checkpoint(self._folder.checkpoint, {**state, "options": self._options})

    def _record(self, figures: Figures, log: Log | None) -> None:
        """Judge the weights, keep them if they are the best, and go to the next epoch."""
        encode = self._encode("validation", "validation")
        share, total = (self._fabric.global_rank, self._fabric.world_size), self._learner.total
        with self._learner.averaged():
            judged = figures | self._judge(encode, self._network.dimension, share, total)
            if self._history.add(judged) and not self._quiet:
                save_encoder(self._encoder, self._folder.best, self._trained_on)
        if figures:  # of an epoch, not of the weights before the first
            self._learner.next_epoch()
        self._save()
        if log is not None:
            log.add(self._history)
            self._history.write(self._folder, self._title)
            print(self._history.line(), flush=True)

    def _judge(
        self, encode: Encode, dimension: int, share: Share = (0, 1), total: Total = lambda tensor: tensor
    ) -> Figures:
        device = self._network.device
        if self._watch:
            encode = encode_once(encode)
        recalls = self._validation.recalls(encode, dimension, device, share=share, total=total)
        figures = {f"recall@{n}": recall for n, recall in recalls.items()}
        for name, validation in self._watch.items():
            recalls = validation.recalls(encode, dimension, device, share=share, total=total)
            figures |= {f"{name}: recall@{n}": recall for n, recall in recalls.items()}
        return figures

    def _whitened(self, whiten: Whiten) -> Encoder:
        if not whiten.dimension:
            return self._encoder
        rows = sample_rows(self._count, WHITENING_IMAGES, np.random.default_rng(self._seed))
        descriptors = np.empty((len(rows), self._network.dimension), np.float32)
        for positions, encoded in self._encode("training", "whitening")(rows):
            descriptors[positions] = encoded.cpu().numpy()
        return with_whitening(self._encoder, descriptors, whiten)


def _identity(*tables: GeotaggedImages) -> str:
    """Return what tells these images, by name and place, from others."""
    digest = sha256()
    for table in tables:
        for name in ("image", "latitude", "longitude", "session"):
            digest.update(table.rows[name].tobytes())
    return f"{' + '.join(str(len(table)) for table in tables)}, sum {digest.hexdigest()[:12]}"


def _say_enlarged(shorter_side: int, input_size: int) -> None:
    if shorter_side < input_size:
        logger.info(
            "all images are enlarged: their shorter sides have at most %d pixels, --model.input_size is %d: "
            "with %d it is %.0f %% of the work",
            *(shorter_side, input_size, shorter_side, 100 * (shorter_side / input_size) ** 2),
        )


def _say_counts(images: int, supervision: Supervision, judged: int, judge: Validation) -> None:
    logger.info(
        "%d training images, %d of them queries; %d have no potential positive, %d no definite negative",
        *(images, len(supervision.queries), supervision.no_positive, supervision.no_negative),
    )
    logger.info("%d validation images, %d of them queries", judged, len(judge.queries))
