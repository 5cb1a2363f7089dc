"""The objectives that scikit-learn's estimators minimize, written out, and their derivatives.

Rescaled so that the loss of a row has the weight s, as the table of `WithRigidity` says. They
take complex parameters: gradients are complex steps, exact to rounding.
"""

import numpy as np

_STEP = 1e-5


def gradient(objective, theta):
    out = np.empty(len(theta))
    for i in range(len(theta)):
        moved = theta.astype(complex)
        moved[i] += 1e-30j
        out[i] = objective(moved).imag / 1e-30
    return out


def hessian(objective, theta):
    """Central differences of the gradient, to about 1e-9."""
    columns = []
    for i in range(len(theta)):
        step = np.zeros(len(theta))
        step[i] = _STEP * max(1.0, abs(theta[i]))
        difference = gradient(objective, theta + step) - gradient(objective, theta - step)
        columns.append(difference / (2 * step[i]))
    H = np.column_stack(columns)
    return (H + H.T) / 2


def minimum(objective, theta, basis=None):
    """Newton's method from close by, along the columns of `basis`."""
    basis = np.eye(len(theta)) if basis is None else basis
    for _ in range(30):
        reduced = basis.T @ hessian(objective, theta) @ basis
        step = np.linalg.lstsq(reduced, basis.T @ gradient(objective, theta), rcond=1e-12)[0]
        theta = theta - basis @ step
        if np.abs(step).max() < 1e-12 * (1 + np.abs(theta).max()):
            break
    return theta


def rise_when_pulled(objective, theta, g, eps):
    """How much the objective rises when ``g @ theta`` is pulled by eps and all else is refitted."""
    theta = minimum(objective, theta)
    along = g / (g @ g)
    free = np.linalg.svd(g[None])[2][1:].T
    pulled = minimum(objective, theta + eps * along, free)
    return (objective(pulled) - objective(theta)).real


def _eta(theta, X):
    """Parameters are the coefficients and the intercept."""
    return X @ theta[:-1] + theta[-1]


def _norm(theta):
    return theta[:-1] @ theta[:-1]


def least_squares(X, y, s, alpha=0.0):
    """`alpha`: a number, or one per feature."""
    return lambda t: s @ (y - _eta(t, X)) ** 2 + np.sum(alpha * t[:-1] ** 2)


def huber(X, y, s, alpha, epsilon):
    def objective(t):
        r, sigma = y - _eta(t[:-1], X), t[-1]
        size = np.where(r.real > 0, r, -r)
        linear = 2 * epsilon * size - sigma * epsilon**2
        inner = size.real <= epsilon * sigma.real
        return s @ (sigma + np.where(inner, r**2 / sigma, linear)) + alpha * _norm(t[:-1])

    return objective


def clipped(X, y, s, alpha, epsilon):
    """Huber's loss at a fixed epsilon, as SGDRegressor has it."""

    def objective(t):
        r = y - _eta(t, X)
        size = np.where(r.real > 0, r, -r)
        loss = np.where(size.real <= epsilon, r**2 / 2, epsilon * (size - epsilon / 2))
        return s @ loss + alpha * len(s) * _norm(t) / 2

    return objective


def poisson(X, y, s, alpha):
    return lambda t: s @ (np.exp(_eta(t, X)) - y * _eta(t, X)) + alpha * s.sum() * _norm(t) / 2


def gamma(X, y, s, alpha):
    return lambda t: s @ (_eta(t, X) + y / np.exp(_eta(t, X))) + alpha * s.sum() * _norm(t) / 2


def tweedie(X, y, s, alpha, p, link):
    def objective(t):
        mu = np.exp(_eta(t, X)) if link == "log" else _eta(t, X)
        if p == 1:
            loss = mu - y * np.log(mu)
        elif p == 2:
            loss = np.log(mu) + y / mu
        else:
            loss = mu ** (2 - p) / (2 - p) - y * mu ** (1 - p) / (1 - p)
        return s @ loss + alpha * s.sum() * _norm(t) / 2

    return objective


def logistic(X, y, s, C, intercept_scaling=None):
    """With `intercept_scaling` LIBLINEAR's, which penalizes the intercept."""

    def objective(t):
        eta = _eta(t, X)
        penalty = _norm(t)
        if intercept_scaling is not None:
            penalty = penalty + (t[-1] / intercept_scaling) ** 2
        return s @ (np.log(1 + np.exp(eta)) - y * eta) + penalty / (2 * C)

    return objective


def multinomial(X, y, s, C, n_classes, intercept=True):
    """Parameters are those of one class after the other; `y` are class indices."""

    def objective(t):
        W = t.reshape(n_classes, -1)
        coef = W[:, :-1] if intercept else W
        eta = X @ coef.T + (W[:, -1] if intercept else 0.0)
        loss = np.log(np.exp(eta).sum(axis=1)) - eta[np.arange(len(y)), y]
        return s @ loss + np.sum(coef**2) / (2 * C)

    return objective
