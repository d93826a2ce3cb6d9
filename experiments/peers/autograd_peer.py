"""The training step with HIPS autograd: NumPy's arithmetic and derivatives by its tape. It has no scorer."""

from __future__ import annotations

import functools
import math
from importlib.metadata import version as installed_version

import autograd
import autograd.numpy as np
from autograd.scipy.special import logsumexp

from igr_ref import noise


def mlp(params, prefix, x):
    n = sum(name.startswith(prefix) for name in params) // 2
    for i in range(n):
        x = np.dot(x, params[f"{prefix}.{i}.weight"]) + params[f"{prefix}.{i}.bias"]
        x = np.maximum(x, 0) if i < n - 1 else x
    return x


def objective(params, task, x, draws):
    """Mean over images of -log p(x|z) + KL; x (B, P) floats, draws (B, N, K or K-1)."""
    n, k, tau = task.n_variables, task.n_categories, task.temperature
    o = mlp(params, "encoder", x)
    if task.model == "gs":
        log_alpha = np.reshape(o, (-1, n, k))
        y = (log_alpha + draws) / tau
        y = y - logsumexp(y, axis=-1, keepdims=True)
        kl = exp_concrete(y, log_alpha, tau) - exp_concrete(y, 0 * draws, task.prior_temperature)
        z = np.exp(y)
    else:
        half = n * (k - 1)
        mu, log_sigma = np.reshape(o[:, :half], (-1, n, k - 1)), np.reshape(o[:, half:], (-1, n, k - 1))
        mu_0, log_sigma_0 = (value + 0 * draws for value in task.prior)
        y = mu + np.exp(log_sigma) * draws
        if task.model == "igr_planar":
            log_q = log_normal(mu, log_sigma, y)
            y, log_det = flows(params, y)
            kl = log_q - log_det - log_normal(mu_0, log_sigma_0, y)
        else:
            ratio = (np.exp(2 * log_sigma) + (mu - mu_0) ** 2) * np.exp(-2 * log_sigma_0)
            kl = np.sum((ratio - 1) / 2 - log_sigma + log_sigma_0, axis=-1)
        if task.model == "igr_sb":
            rest = np.cumsum(-np.logaddexp(0, y), axis=-1)
            before = np.concatenate([0 * rest[..., :1], rest[..., :-1]], axis=-1)
            y = np.exp(-np.logaddexp(0, -y) + before)
        logits = np.concatenate([y / tau, 0 * y[..., :1]], axis=-1)
        z = np.exp(logits - logsumexp(logits, axis=-1, keepdims=True))
    logits = mlp(params, "decoder", np.reshape(z, (len(x), -1)))
    log_p = np.sum(x * logits - np.logaddexp(0, logits), axis=-1)
    return np.mean(np.sum(kl, axis=-1) - log_p)


def exp_concrete(y, log_alpha, tau):
    """log density of y = log z (Maddison et al. 2017), summed over the categories."""
    k = y.shape[-1]
    tilted = log_alpha - tau * y
    return np.sum(tilted, axis=-1) - k * logsumexp(tilted, axis=-1) + math.lgamma(k) + (k - 1) * math.log(tau)


def log_normal(mu, log_sigma, y):
    """log N(y | mu, sigma^2), summed over the coordinates."""
    standard = (y - mu) * np.exp(-log_sigma)
    return np.sum(-0.5 * standard**2 - log_sigma - 0.5 * math.log(2 * math.pi), axis=-1)


def flows(params, y):
    """(two planar flows of y (B, N, K-1), log|det J| (B, N))."""
    log_det = 0
    for i in range(2):
        w, u, b = (params[f"flow.{i}.{name}"] for name in "wub")
        c = np.sum(w * u, axis=-1)
        psi = np.logaddexp(0, c) - 1
        constrained = u + ((psi - c) / np.sum(w * w, axis=-1))[:, None] * w
        h = np.tanh(np.sum(w * y, axis=-1) + b)
        log_det = log_det + np.log1p((1 - h * h) * psi)
        y = y + constrained * h[..., None]
    return y, log_det


class Trainer:
    def __init__(self, task):
        self.task, self.t, self.params = task, 0, dict(task.params)
        self.m, self.v = ({name: 0 * p for name, p in task.params.items()} for _ in range(2))
        self.gradient = autograd.value_and_grad(objective)

    def run(self, steps):
        task = self.task
        draw = functools.partial(noise.gumbel if task.model == "gs" else noise.normal, dtype="float32")
        for _ in range(steps):
            x = task.images[task.rows(self.t)].astype("float32")
            shape = (len(x), task.n_variables, task.n_categories - (task.model != "gs"))
            loss, grads = self.gradient(self.params, task, x, draw(noise.generator(0, "train", self.t), shape))
            self.t += 1
            rate = task.learning_rate * math.sqrt(1 - 0.999**self.t) / (1 - 0.9**self.t)
            for name, g in grads.items():
                self.m[name] = 0.9 * self.m[name] + 0.1 * g
                self.v[name] = 0.999 * self.v[name] + 0.001 * g * g
                self.params[name] = self.params[name] - rate * self.m[name] / (np.sqrt(self.v[name]) + 1e-7)
        return float(loss)

    def check(self, x, draws):
        loss, grads = self.gradient(self.task.params, self.task, x, draws)
        return float(loss), grads


version = installed_version("autograd")


def trainers(task):
    return {"autograd": Trainer(task)}


def scorer(task):
    return None
