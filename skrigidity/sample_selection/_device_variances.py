"""Variances of a pool and of targets on a device, and what every pick takes off them."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..gradients import same_kind
from ..hessian import EPS, block_rows
from ._greedy import ROUNDING, TIE

# Entries of an array of gains.
ENTRIES = 2**24


class DeviceVariances:
    """Whitened pool and targets, and covariances between them.

    Attributes
    ----------
    z, zt : array
        Rows of the pool and the targets, as they were whitened last.
    M : array
        What the picks since have made of the identity: covariances are ``z @ M @ z'``.
    b, v : array
        Variances of the pool and the targets.
    second : array
        What the gains need besides: covariances of both, or sums over the targets.
    """

    xp: Any
    selector: Any
    model: Any
    candidates: Any
    targets: list[Any]
    weight: Any
    share: Any
    noise: Any
    path: Any
    n_candidates: int
    _kept: bool

    def _refresh(self, added: Any) -> None:
        """Factorize the Hessian with all picks, and whiten pool and targets."""
        xp, factor = self.xp, self.model.factor(added)
        self.z = factor.whiten(self.candidates)
        self.zt = xp.concat([factor.whiten(rows) for rows in self.targets], axis=0)
        self.b, self.v = xp.sum(self.z**2, axis=1), xp.sum(self.zt**2, axis=1)
        if not bool(xp.any(self.v > 0)):
            raise ValueError("X_target has no prediction that can move: all have R = inf")
        if not self._kept:
            kept = xp.where(self.v > 0, self.weight, 0.0)
            self.share, self._kept = kept / xp.sum(kept), True
        self.b_start, self.v_start, self.fresh = self.b, self.v, True
        self.M = same_kind(np.eye(self.z.shape[1]), self.z)
        kind = self.selector.objective
        if kind == "information":
            self._condition_on_targets()
        elif kind == "variance":
            self.S = self.zt.T @ (self.share[:, None] * self.zt)
            self.second = xp.sum((self.z @ self.S) * self.z, axis=1)
        else:
            self.second = self.z @ self.zt.T

    def _condition_on_targets(self) -> None:
        """Keep what of the pool is left where the targets are known: outside of their span."""
        xp = self.xp
        s, vt = xp.linalg.svd(xp.linalg.qr(self.zt)[1], full_matrices=True)[1:]
        least = max(self.zt.shape) * EPS * float(s[0])
        rank = int(xp.count_nonzero(s > least))
        self.z_known = self.z @ vt[rank:, :].T
        self.M_known = same_kind(np.eye(self.z_known.shape[1]), self.z)
        self.second = xp.sum(self.z_known**2, axis=1)

    def _value(self, v: Any) -> float:
        """Return the objective for variances of the targets."""
        xp, kind = self.xp, self.selector.objective
        safe = xp.where(v > 0, v, 1.0)
        if kind == "information":
            return self.path.objective[-1] if self.path.objective else 0.0
        if kind == "min":
            return 1 / float(xp.max(v))
        function = {"mean": lambda: 1 / safe, "log_mean": lambda: -xp.log(safe)}
        return float(xp.sum(self.share * function.get(kind, lambda: v)()))

    def _gains(self) -> Any:
        """Return the gains of all candidates."""
        xp, kind, total = self.xp, self.selector.objective, self.noise + self.b
        if kind == "information":
            known = xp.where(self.second < self.b, self.second, self.b)
            return 0.5 * xp.log1p((self.b - known) / (self.noise + known))
        if kind == "variance":
            return xp.where(self.second > 0, self.second, 0.0) / total
        v, n = xp.where(self.v > 0, self.v, 1.0 if kind != "min" else 0.0), self.n_candidates
        step, parts = block_rows(int(v.shape[0]), ENTRIES), []
        for start in range(0, n, step):
            some = slice(start, min(start + step, n))
            x = self.second[some, :] ** 2
            rest = total[some][:, None] * v - x
            # What is left of targets along a candidate, at least.
            floor = self.noise[some] / xp.where(self.b[some] > 0, self.b[some], 1.0)
            low = x * floor[:, None]
            rest = xp.where(rest > low, rest, low)
            low = EPS**2 * total[some][:, None] * v
            rest = xp.where(rest > low, rest, low)
            if kind == "mean":
                parts.append((x / rest) @ (self.share / v))
            elif kind == "log_mean":
                parts.append(xp.log1p(x / rest) @ self.share)
            else:
                parts.append(total[some] / xp.max(rest, axis=1) - 1 / xp.max(v))
        gains = xp.concat(parts)
        return xp.where(gains > 0, gains, 0.0)

    def _lowest_of_best(self, ranking: Any, left: float = np.inf) -> int:
        xp, largest = self.xp, float(self.xp.max(ranking))
        if not np.isfinite(largest):
            return int(xp.argmax(ranking))
        size = abs(largest)
        least = largest - (TIE * min(size, left) + ROUNDING * size)
        numbers = xp.arange(self.n_candidates, device=ranking.device)
        return int(xp.min(xp.where(ranking >= least, numbers, self.n_candidates)))

    def _follow(self, p: int, noise: float) -> None:
        xp, kind = self.xp, self.selector.objective
        own = xp.arange(self.n_candidates, device=self.b.device) == p
        y = self.M @ self.z[p, :]
        u, r, b = self.z @ y, self.zt @ y, float(self.z[p, :] @ y)
        total = noise + b
        if kind == "variance":
            image = self.M @ (self.S @ y)
            extra, mine = self.z @ image, float(y @ (self.S @ y))
            less = self.second - u / total * (2 * extra - u / total * mine)
            self.second = xp.where(own, mine * (noise / total) ** 2, less)
        elif kind == "information":
            self._follow_known(p, noise, own)
        else:
            share = xp.where(own, 0.0, u / total)
            less = self.second - share[:, None] * r
            self.second = xp.where(own[:, None], r * (noise / total), less)
        self.M = self.M - y[:, None] * (y / total)
        x = r**2 / total
        low = x * (noise / b) if b > 0 else 0 * x
        self.v = xp.where(self.v - x > low, self.v - x, low)
        b_left = self.b - u**2 / total
        b_left = xp.where(b_left > 0, b_left, 0.0)
        self.b, self.fresh = xp.where(own, noise * (b / total), b_left), False

    def _follow_known(self, p: int, noise: float, own: Any) -> None:
        xp, z = self.xp, self.z_known[p, :]
        y = self.M_known @ z
        known = float(z @ y)
        less = self.second - (self.z_known @ y) ** 2 / (noise + known)
        less = xp.where(less > 0, less, 0.0)
        self.second = xp.where(own, noise * known / (noise + known), less)
        self.M_known = self.M_known - y[:, None] * (y / (noise + known))
