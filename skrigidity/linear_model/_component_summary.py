"""Can a decomposition into components be trusted? Overlaps, rigidities, shares, a verdict."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import scipy.sparse as sp

from ..gradients import FeatureGradients, Level, RigidityMixin, inverse
from ..hessian import Rows, UnpinnedError
from ._orthogonalize import Moments

if TYPE_CHECKING:
    import pandas as pd

# Less than this share of what a component's rigidity could be, or not prior, is not enough.
HALF = 0.5


class ComponentSummaryMixin(RigidityMixin):
    """Overlaps and a summary of a model that has components of its own."""

    components_: dict[str, np.ndarray]
    coef_: np.ndarray
    gradients_: FeatureGradients
    hessian_: Any
    fit_intercept: bool
    aggregate: str

    def _component_alphas(self) -> np.ndarray:
        raise NotImplementedError

    def component_overlap(self, X: Any, *, level: Level = "global") -> pd.DataFrame:
        """Overlap of every pair of components: their largest canonical correlation.

        1 where a combination of columns of one equals, on `X`, one of the other (always so where
        the two have more columns than `X` has rows), 0 where they are orthogonal. Columns are
        centred where there is an intercept.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features) or structures of environments
            Samples, best those of the training set.
        level : {"global", "local"}, default="global"
            Correlations over samples, or over environments.

        Returns
        -------
        pandas.DataFrame of shape (n_components, n_components)
            Overlaps.

        References
        ----------
        Hotelling, Biometrika 28, 321 (1936).
        """
        import pandas as pd

        X, _ = self._checked(X, level)
        features = self.gradients_.features(X, level)
        centred = self.fit_intercept and (level == "global" or self.aggregate == "mean")
        values = overlaps(features, list(self.components_.values()), centred)
        return pd.DataFrame(values, index=[*self.components_], columns=[*self.components_])

    def component_summary(
        self, X: Any, *, level: Level = "global", quantiles: Any = (0.05, 0.5, 0.95)
    ) -> pd.DataFrame:
        """Say of every component how firm, large and separate it is, and whether to trust it.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features) or structures of environments
            Samples whose components are in question.
        level : {"global", "local"}, default="global"
            Look at samples, or at environments.
        quantiles : sequence of float, default=(0.05, 0.5, 0.95)
            Which quantiles of the rigidities.

        Returns
        -------
        pandas.DataFrame
            A row per component, with the columns

            ``n_columns``, ``alpha``
                As fitted.
            ``rigidity_5%``, ...
                Quantiles of its rigidity (CPR), each that of a row of X.
            ``share``
                Its share of the variance of the prediction, ``cov(part, whole) / var(whole)``:
                they sum to 1, and opposing components have shares below 0 and above 1.
            ``overlap``, ``overlap_with``
                Its largest canonical correlation with another, and which (`component_overlap`).
            ``kept``
                Its rigidity over the one that it would have if the coefficients of all
                others were known, the median over X; in [0, 1].
            ``prior``
                The rigidity that the regularizer alone would give it over the one it has, the
                median over X; in [0, 1].
            ``verdict``
                The first that holds of: ``"vanishes"`` (its columns are 0 throughout X),
                ``"unpinned"`` (R = 0 in half of the rows), ``"unknown"`` (the Hessian is
                singular, `kept` cannot be told), ``"entangled"`` (kept < 0.5: the data tell
                others from it too badly), ``"regularized"`` (prior > 0.5: the regularizer says
                more than the data), ``"trusted"``.

        References
        ----------
        Chong et al., Faraday Discuss. 256, 322 (2025), section 2: CPR as a diagnostic of
        decompositions.
        """
        import pandas as pd

        X, _ = self._checked(X, level)
        features = self.gradients_.features(X, level)
        columns = list(self.components_.values())
        overlap = self.component_overlap(X, level=level)
        others = overlap.mask(np.eye(len(columns), dtype=bool))
        parts = np.stack([features[:, c] @ self.coef_[..., c].T for c in columns], axis=1)
        numbers = judge(self.hessian_, features, columns, self._component_alphas())
        out = pd.DataFrame(
            {"n_columns": [len(c) for c in columns], "alpha": self._component_alphas()},
            index=[*self.components_],
        )
        for p in quantiles:
            out[f"rigidity_{100 * p:g}%"] = [_quantile(n.rigidity, p) for n in numbers]
        out["share"] = shares_of_variance(parts)
        alone = len(columns) == 1
        out["overlap"] = 0.0 if alone else others.max()
        out["overlap_with"] = "" if alone else others.idxmax()
        for name in ("kept", "prior", "verdict"):
            out[name] = [getattr(n, name) for n in numbers]
        return out


class ComponentFigures(NamedTuple):
    """What is known of one component on some rows; shares are medians over the rows."""

    rigidity: np.ndarray  # of every row
    kept: float
    prior: float
    verdict: str


def overlaps(features: Any, columns: list[np.ndarray], centred: bool) -> np.ndarray:
    """Return the largest canonical correlation of every pair of blocks (Hotelling, 1936).

    Examples
    --------
    >>> import numpy as np
    >>> from skrigidity.linear_model._component_summary import overlaps
    >>> X = np.array([[1.0, 0.0], [1.0, 1.0]])
    >>> overlaps(X, [np.array([0]), np.array([1])], centred=False).round(3)
    array([[1.   , 0.707],
           [0.707, 1.   ]])
    """
    moments = Moments.of(Rows(features, intercept=centred))
    bases = [moments.basis(c) for c in columns]
    out = np.eye(len(columns))
    for i, a in enumerate(bases):
        for j, b in enumerate(bases[:i]):
            if a.shape[1] and b.shape[1]:
                largest = np.linalg.svd(a.T @ b, compute_uv=False)[0]
                out[i, j] = out[j, i] = min(float(largest), 1.0)
    return out


def shares_of_variance(parts: np.ndarray) -> np.ndarray:
    """Return ``cov(part, prediction) / var(prediction)``; sums to 1, over all targets.

    Examples
    --------
    >>> import numpy as np
    >>> from skrigidity.linear_model._component_summary import shares_of_variance
    >>> shares_of_variance(np.array([[0.0, 0.0], [3.0, 1.0]]))
    array([0.75, 0.25])
    """
    parts = parts.reshape(*parts.shape[:2], -1)
    parts = parts - parts.mean(axis=0)
    shares = np.einsum("nct,nt->c", parts, parts.sum(axis=1))
    total = shares.sum()
    return shares / total if total > 0 else np.full(len(shares), np.nan)


def judge(
    factor: Any, features: Any, columns: list[np.ndarray], alphas: np.ndarray
) -> list[ComponentFigures]:
    """Return the rigidities of every component, and how far they can be trusted."""
    whitened = _whitened_units(factor, features)
    numbers = []
    for own, alpha in zip(columns, alphas, strict=True):
        q = factor.quad(Rows(features, columns=own))
        usable = np.flatnonzero((q > 0) & np.isfinite(q))
        part = features[usable][:, own]
        part = part.toarray() if sp.issparse(part) else np.asarray(part, dtype=np.float64)
        kept = np.full(len(usable), np.nan)
        if whitened is not None:
            kept = _quad_if_others_known(part, whitened, own) / q[usable]
        # Without any data the rigidity would be alpha / |x|^2.
        prior = alpha * q[usable] / np.einsum("ij,ij->i", part, part)
        numbers.append(ComponentFigures(inverse(q), *_verdict(q[q > 0], kept, prior)))
    return numbers


def _whitened_units(factor: Any, features: Any) -> np.ndarray | None:
    """Return Z with ``Z @ Z.T = inv(H)``; None where H is singular."""
    units = np.eye(features.shape[1])
    try:
        return factor.whiten(Rows(units))
    except UnpinnedError:
        pass
    # Columns that vanish are unpinned as well, but of no concern to the others.
    present = np.unique(features.nonzero()[1])
    try:
        seen = factor.whiten(Rows(units[present]))
    except UnpinnedError:
        return None
    whitened = np.zeros((len(units), seen.shape[1]))
    whitened[present] = seen
    return whitened


def _quad_if_others_known(part: np.ndarray, whitened: np.ndarray, own: np.ndarray) -> np.ndarray:
    """Return ``x.T @ inv(H_cc) @ x``, from ``Z @ Z.T = inv(H)``.

    By block inversion ``inv(H_cc) = S_cc - S_co inv(S_oo) S_oc`` with ``S = inv(H)``: what is
    left of Z_c outside the space that the rows of the other components span.
    """
    others = np.setdiff1d(np.flatnonzero(whitened.any(axis=1)), own)
    z = whitened[own]
    if len(others):
        basis = np.linalg.qr(whitened[others].T)[0]
        for _ in range(2):
            z = z - (z @ basis) @ basis.T
    half = part @ z
    return np.einsum("ij,ij->i", half, half)


def _quantile(values: np.ndarray, p: float) -> float:
    # Of the sorted values, not between them: they may be infinite.
    return float(np.sort(values)[round(p * (len(values) - 1))])


def _verdict(q: np.ndarray, kept: np.ndarray, prior: np.ndarray) -> tuple[float, float, str]:
    if not len(q):
        return np.nan, np.nan, "vanishes"
    if np.isinf(np.median(q)):
        return np.nan, np.nan, "unpinned"
    middle, prior_middle = float(np.median(kept)), float(np.median(prior))
    if np.isnan(middle):
        verdict = "unknown"
    elif middle < HALF:
        verdict = "entangled"
    else:
        verdict = "regularized" if prior_middle > HALF else "trusted"
    return middle, prior_middle, verdict
