"""A run: from tables of geotagged images to the best weights, interrupted and gone on with at will."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from training.augmentation import Augmentation
from training.checkpoint import load_checkpoint, save_checkpoint
from training.history import Figures, History, Log
from training.initialise import (
    IN_ALL,
    PER_IMAGE,
    WHITENING_IMAGES,
    sample_local,
    sample_rows,
    with_whitening,
)
from training.inputs import GIB, Budget, Features, Load, Pixels, encode_rows
from training.interrupt import stoppable
from training.learner import Learner
from training.mining import Mining
from training.model import Model, TiedNetVLAD
from training.network import Network
from training.optimisation import Optimisation
from training.run_folder import RunFolder, check_same
from training.similarity import Encode, Numbers
from training.supervision import Radii, Supervision
from training.validation import Validation
from vpr_ros.encoder import Encoder, load_encoder, save_encoder
from vpr_ros.geotagged import GeotaggedImages
from vpr_ros.netvlad import NetVLAD

logger = logging.getLogger(__name__)

#: Threads that read images, or features from a file, ahead of their use.
THREADS = min(8, os.cpu_count() or 1)


@dataclass(frozen=True)
class Cache:
    """What is kept instead of being computed again.

    Args:
        features: Keep what the frozen layers make of each image; training without augmentation runs from it.
        memory: GiB of images and features kept in memory, beside features that fit on a GPU; other features
            go to a file in the run's folder, other images are read again.
    """

    features: bool = True
    memory: float = 8.0


@dataclass(frozen=True)
class Whiten:
    """The whitening that is fitted to training images at the end.

    Args:
        dimension: P of the descriptors; 0 for no whitening.
        shrinkage: Added to each variance, in units of their mean; 0 is the paper's, for thousands of images.
    """

    dimension: int = 4096
    shrinkage: float = 0.0


def run_training(
    fabric: Fabric,
    folder: RunFolder,
    images: GeotaggedImages,
    validation: GeotaggedImages,
    model: Model,
    radii: Radii,
    mining: Mining,
    optimisation: Optimisation,
    augmentation: Augmentation,
    whiten: Whiten,
    cache: Cache,
    validation_radius: float,
    patience: int,
    seed: int,
    resume: bool,
    options: Mapping[str, Any],
    trained_on: str,
) -> None:
    """Train, and write the run's files; every process of several calls this alike.

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
        whiten: what is fitted at the end.
        cache: of features and pixels.
        validation_radius: metres within which a retrieved validation image is right.
        patience: epochs without a better one after which training ends; 0 for never.
        seed: of everything random.
        resume: go on from the folder's checkpoint.
        options: which a run may not change when it goes on.
        trained_on: in words, for the weights files.

    Raises:
        InputError: the data do not allow it; it says why.
        KeyboardInterrupt: it was asked to stop, and has written its checkpoint.
    """
    quiet = fabric.global_rank > 0
    state = load_checkpoint(folder.checkpoint) if resume else None
    if state is not None:
        check_same(state["options"], options, folder.folder)
    encoder = model.build().to(fabric.device)
    network = Network(encoder, model.first_trained(encoder), fabric.autocast)
    memory = Budget(int(cache.memory * GIB / fabric.world_size))
    from_features = cache.features and network.frozen_layers > 0
    # features alone are asked for again and again, but where images are augmented
    pixel_memory = Budget(0) if from_features and not augmentation else memory
    trained, judged = (Pixels(each, encoder.fit_size, pixel_memory) for each in (images, validation))
    for pixels in (trained, judged):
        pixels.drop_unreadable(THREADS, quiet)
    supervision = Supervision(trained.images.rows, radii)
    judge = Validation(judged.images.rows, validation_radius)
    _say_counts(len(trained.images), supervision, len(judged.images), judge)
    with ExitStack() as stack:
        see: dict[str, Load] = {"training": trained, "validation": judged}
        if from_features:
            for name, pixels in (("training", trained), ("validation", judged)):
                file = folder.cache / f"{name}-{fabric.global_rank}.bin"
                features = Features(pixels, network, memory, file, THREADS, quiet)
                see[name] = stack.enter_context(closing(features))
        if state is None and model.weights is None:
            _initialise(network, see["training"], len(trained.images), model.initialisation, seed)
            _same_everywhere(fabric, network)
        if model.assignment == "tied":
            network.pooling = TiedNetVLAD(cast(NetVLAD, network.pooling))
        stop = stack.enter_context(stoppable())

        def check() -> None:
            if fabric.world_size == 1 and stop():  # several stop between two steps, together
                raise KeyboardInterrupt

        def encode(name: str, what: str) -> Encode:
            return encode_rows(network, see[name], THREADS, what, quiet, check)

        learner = Learner(
            fabric,
            network,
            supervision,
            trained if augmentation else see["training"],
            encode("training", "mining"),
            optimisation,
            mining,
            augmentation,
            seed,
            THREADS,
        )
        history = History([])
        if state is not None:
            learner.restore(state["learner"])
            history = History(state["history"])
        title = f"{encoder.architecture.trunk}, {encoder.architecture.pooling}: {folder.folder.name}"
        log = None if quiet else stack.enter_context(closing(Log(folder, history)))

        def save() -> None:
            if not quiet:
                state = {"learner": learner.state(), "history": history.entries, "options": dict(options)}
                save_checkpoint(folder.checkpoint, state)

        def record(figures: Figures) -> None:
            recalls = judge.recalls(
                encode("validation", "validation"),
                network.dimension,
                network.device,
                share=(fabric.global_rank, fabric.world_size),
                total=learner.total,
            )
            if history.add(figures, recalls) and not quiet:
                save_encoder(encoder, folder.best, trained_on)
            if figures:
                learner.next_epoch()
            save()
            if log is not None:
                log.add(history)
                history.write(folder, title)
                print(history.line(), flush=True)

        try:
            if not history.entries:
                record({})
            while len(history.entries) <= optimisation.epochs and not history.stale(patience):
                record(learner.train_epoch(stop, save))
        except KeyboardInterrupt:
            save()
            if not quiet:
                print(f"{folder.checkpoint}: go on from here with --resume", file=sys.stderr)
            raise
        if not quiet:
            encoder.load_state_dict(load_encoder(folder.best).state_dict())
            encode_training = encode("training", "whitening")
            result = _whitened(encoder, encode_training, len(trained.images), whiten, seed)
            save_encoder(result, folder.weights, trained_on, half=True)
            final = _with(result.whitening, encode("validation", "validation"), network.device)
            recalls = judge.recalls(final, result.dimension, network.device)
            said = "  ".join(f"R@{n} {recall:.3f}" for n, recall in recalls.items())
            print(
                f"{folder.weights}: best after epoch {history.best}, {result.dimension} dimensions; "
                f"on validation {said}"
            )
        fabric.barrier()


def _say_counts(images: int, supervision: Supervision, judged: int, judge: Validation) -> None:
    logger.info(
        "%d training images, %d of them queries; %d have no potential positive, %d no definite negative",
        *(images, len(supervision.queries), supervision.no_positive, supervision.no_negative),
    )
    logger.info("%d validation images, %d of them queries", judged, len(judge.queries))


def _initialise(network: Network, see: Load, count: int, version: str, seed: int) -> None:
    """Initialise a NetVLAD by k-means; other poolings have nothing to be initialised."""
    if not isinstance(network.pooling, NetVLAD):
        return
    random = np.random.default_rng(seed)
    rows = sample_rows(count, IN_ALL // PER_IMAGE, random)

    def maps() -> Iterator[Tensor]:
        for row in rows:
            for part in see(np.array([row])):
                with torch.no_grad():
                    yield network.local(network.accept(part.inputs))

    network.pooling.initialise(sample_local(maps(), random), version, seed)


def _same_everywhere(fabric: Fabric, network: Network) -> None:
    """Give every process the weights of the first: k-means need not end alike everywhere."""
    if fabric.world_size > 1:
        for tensor in network.state_dict().values():
            own = tensor if fabric.global_rank == 0 else torch.zeros_like(tensor)
            tensor.copy_(cast(Tensor, fabric.all_reduce(own, reduce_op="sum")))


def _whitened(encoder: Encoder, encode: Encode, count: int, whiten: Whiten, seed: int) -> Encoder:
    if not whiten.dimension:
        return encoder
    rows = sample_rows(count, WHITENING_IMAGES, np.random.default_rng(seed))
    descriptors = np.empty((len(rows), encoder.dimension), np.float32)
    for positions, encoded in encode(rows):
        descriptors[positions] = encoded.cpu().numpy()
    return with_whitening(encoder, descriptors, whiten.dimension, whiten.shrinkage)


def _with(whitening: nn.Module | None, encode: Encode, device: torch.device) -> Encode:
    """Return the encoder followed by the whitening."""
    if whitening is None:
        return encode
    following = whitening.to(device)

    def encode_whitened(rows: Numbers) -> Iterator[tuple[Numbers, Tensor]]:
        for positions, descriptors in encode(rows):
            with torch.no_grad():
                yield positions, following(descriptors)

    return encode_whitened
