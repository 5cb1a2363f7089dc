"""Divisions of labelled frames into those to fit to, to calibrate with, and to test with."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ._features import LabelledFrames

_SHARES = (0.6, 0.8)  # 60 % to fit to, 20 % to calibrate with, the rest to test with
_FEWEST = 5


class Division(NamedTuple):
    """Numbers of frames; every set is divided in the same way."""

    train: np.ndarray
    calibration: np.ndarray
    test: np.ndarray


def divided(known: LabelledFrames, key: str | None, seed: Any) -> Division:
    """Divide labelled frames at random, or leave the test frames to the frames themselves.

    Parameters
    ----------
    known : LabelledFrames
        Frames that have energies.
    key : str or None
        Where frames say in their info that they are for a test: a value that starts with "test".
        The others are divided three to one.
    seed : int or sequence of int
        Seed.

    Raises
    ------
    ValueError
        If a frame has no energy or does not say what it is for, or a set is too small.
    """
    (unlabelled,) = np.nonzero(np.isnan(known.energies))
    if unlabelled.size:
        i = int(unlabelled[0])
        raise ValueError(
            f"{known.sets[i]}: a frame has no energy (number {i} of all); name energy_key"
        )
    rng = np.random.default_rng(seed)
    parts: list[list[np.ndarray]] = [[], [], []]
    for name in known.names:
        order = rng.permutation(np.flatnonzero(known.sets == name))
        if len(order) < _FEWEST:
            raise ValueError(f"{name}: expected at least {_FEWEST} frames, got {len(order)}")
        if key is None:
            cuts = (np.array(_SHARES) * len(order)).astype(int)
            some = np.split(order, cuts)
        else:
            for_test = np.array([_is_test(known.frames[i], key, name) for i in order])
            others = order[~for_test]
            cut = int(len(others) * _SHARES[0] / _SHARES[1])
            some = [others[:cut], others[cut:], order[for_test]]
        if min(map(len, some)) == 0:
            raise ValueError(f"{name}: no frames to fit to, to calibrate with or to test with")
        for part, found in zip(parts, some, strict=True):
            part.append(found)
    return Division(*map(np.concatenate, parts))


def _is_test(frame: Any, key: str, name: str) -> bool:
    if key not in frame.info:
        raise ValueError(f"{name}: a frame has no {key!r} in its info")
    return str(frame.info[key]).startswith("test")
