"""The training step and the scores in JAX: compiled one step at a time, or as one loop (`lax.scan`) over many steps."""

from __future__ import annotations

import functools
import math

import jax
import jax.numpy as jnp
import numpy
from jax import lax

from . import SCAN


def mlp(params, prefix, x):
    n = sum(name.startswith(prefix) for name in params) // 2
    for i in range(n):
        x = x @ params[f"{prefix}.{i}.weight"] + params[f"{prefix}.{i}.bias"]
        x = jax.nn.relu(x) if i < n - 1 else x
    return x


def objective(task, params, x, noise):
    """Mean over images of -log p(x|z) + KL; x (B, P) floats, noise (B, N, K or K-1)."""
    n, k, tau = task.n_variables, task.n_categories, task.temperature
    o = mlp(params, "encoder", x)
    if task.model == "gs":
        log_alpha = o.reshape(-1, n, k)
        y = jax.nn.log_softmax((log_alpha + noise) / tau)
        kl = exp_concrete(y, log_alpha, tau) - exp_concrete(y, jnp.zeros((n, k), y.dtype), task.prior_temperature)
        z = jnp.exp(y)
    else:
        mu, log_sigma = (half.reshape(-1, n, k - 1) for half in jnp.split(o, 2, axis=-1))
        mu_0, log_sigma_0 = (jnp.asarray(value, o.dtype) for value in task.prior)
        y = mu + jnp.exp(log_sigma) * noise
        if task.model == "igr_planar":
            log_q = log_normal(mu, log_sigma, y)
            y, log_det = flows(params, y)
            kl = log_q - log_det - log_normal(mu_0, log_sigma_0, y)
        else:
            ratio = (jnp.exp(2 * log_sigma) + (mu - mu_0) ** 2) * jnp.exp(-2 * log_sigma_0)
            kl = jnp.sum((ratio - 1) / 2 - log_sigma + log_sigma_0, axis=-1)
        if task.model == "igr_sb":
            rest = jnp.cumsum(jax.nn.log_sigmoid(-y), axis=-1)
            y = jnp.exp(jax.nn.log_sigmoid(y) + jnp.pad(rest, ((0, 0), (0, 0), (1, 0)))[..., :-1])
        z = jax.nn.softmax(jnp.pad(y / tau, ((0, 0), (0, 0), (0, 1))))
    logits = mlp(params, "decoder", z.reshape(len(x), -1))
    log_p = jnp.sum(x * logits - jax.nn.softplus(logits), axis=-1)
    return jnp.mean(jnp.sum(kl, axis=-1) - log_p)


def exp_concrete(y, log_alpha, tau):
    """log density of y = log z (Maddison et al. 2017), summed over the categories."""
    k = y.shape[-1]
    tilted = log_alpha - tau * y
    total = jnp.sum(tilted, axis=-1) - k * jax.nn.logsumexp(tilted, axis=-1)
    return total + math.lgamma(k) + (k - 1) * math.log(tau)


def log_normal(mu, log_sigma, y):
    """log N(y | mu, sigma^2), summed over the coordinates."""
    standard = (y - mu) * jnp.exp(-log_sigma)
    return jnp.sum(-0.5 * standard**2 - log_sigma - 0.5 * math.log(2 * math.pi), axis=-1)


def flows(params, y):
    """(two planar flows of y (B, N, K-1), log|det J| (B, N))."""
    log_det = 0
    for i in range(2):
        w, u, b = (params[f"flow.{i}.{name}"] for name in "wub")
        c = jnp.sum(w * u, axis=-1)
        psi = jax.nn.softplus(c) - 1
        constrained = u + ((psi - c) / jnp.sum(w * w, axis=-1))[:, None] * w
        h = jnp.tanh(jnp.sum(w * y, axis=-1) + b)
        log_det = log_det + jnp.log1p((1 - h * h) * psi)
        y = y + constrained * h[..., None]
    return y, log_det


class Trainer:
    """`at_once` steps for each compiled call."""

    def __init__(self, task, at_once):
        self.task, self.at_once, self.t = task, at_once, 0
        start = [{name: jnp.asarray(p) for name, p in task.params.items()} for _ in range(3)]
        m, v = (jax.tree.map(jnp.zeros_like, p) for p in start[1:])
        self.state, self.images = (start[0], m, v, 0), jnp.asarray(task.images)
        self.gradient = jax.value_and_grad(functools.partial(objective, task))
        self.compiled = jax.jit(self._steps, donate_argnums=0)

    def _one(self, images, state, rows, key):
        task = self.task
        params, m, v, t = state
        x = jnp.take(images, rows, axis=0).astype("float32")
        size = (len(rows), task.n_variables, task.n_categories - (task.model != "gs"))
        draw = jax.random.gumbel if task.model == "gs" else jax.random.normal
        loss, grads = self.gradient(params, x, draw(key, size, x.dtype))
        t = t + 1
        rate = task.learning_rate * jnp.sqrt(1 - 0.999**t) / (1 - 0.9**t)
        m = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, m, grads)
        v = jax.tree.map(lambda v, g: 0.999 * v + 0.001 * g * g, v, grads)
        params = jax.tree.map(lambda p, m, v: p - rate * m / (jnp.sqrt(v) + 1e-7), params, m, v)
        return (params, m, v, t), loss

    def _steps(self, state, images, rows, key):
        if self.at_once == 1:
            return self._one(images, state, rows[0], key)
        keys = jax.random.split(key, self.at_once)
        state, losses = lax.scan(lambda state, given: self._one(images, state, *given), state, (rows, keys))
        return state, losses[-1]

    def run(self, steps):
        for _ in range(max(1, steps // self.at_once)):
            rows = numpy.stack([self.task.rows(self.t + i) for i in range(self.at_once)])
            self.state, loss = self.compiled(self.state, self.images, rows, jax.random.key(self.t))
            self.t += self.at_once
        return float(loss)

    def check(self, x, noise):
        loss, grads = jax.jit(self.gradient)(self.task.params, x, noise)
        return float(loss), {name: numpy.asarray(g) for name, g in grads.items()}


class Scorer:
    """All images in one compiled call, one after the other; codes as indicators u >= cdf, as in ours."""

    def __init__(self, task):
        self.task, self.t = task, 0
        params = {name: jnp.asarray(p) for name, p in task.params.items() if name.startswith("decoder")}
        weight = params["decoder.0.weight"].reshape(task.n_variables, task.n_categories, -1)
        params["decoder.0.bias"] += weight[:, 0].sum(axis=0)
        params["decoder.0.weight"] = (weight[:, 1:] - weight[:, :-1]).reshape(-1, weight.shape[-1])
        self.params = params
        self.compiled = jax.jit(lambda params, *given: lax.map(lambda one: self._one(params, *one), given))
        self.decode = jax.jit(self._log_p)

    def _log_p(self, params, x, hidden):
        logits = mlp(params, "decoder", hidden)
        return jnp.sum(x * logits - jax.nn.softplus(logits), axis=-1)

    def _one(self, params, x, log_probs, key):
        m, (n, k) = self.task.m, log_probs.shape
        cdf = jnp.cumsum(jnp.exp(log_probs), axis=-1)[:, :-1]
        above = (jax.random.uniform(key, (m, n))[..., None] >= cdf).astype(x.dtype).reshape(m, -1)
        log_q = jnp.sum(log_probs[:, 0]) + above @ (log_probs[:, 1:] - log_probs[:, :-1]).reshape(-1)
        return jax.nn.logsumexp(self._log_p(params, x, above) - log_q) - n * math.log(k) - math.log(m)

    def run(self, x, log_probs):
        self.t += 1
        keys = jax.random.split(jax.random.key(self.t), len(x))
        return numpy.asarray(self.compiled(self.params, x, log_probs.astype("float32"), keys))

    def check(self, x, indicators):
        return numpy.asarray(self.decode(self.params, x, indicators), dtype="float64")


version = jax.__version__


def trainers(task):
    return {"JAX, a step at a time": Trainer(task, 1), "JAX, scan": Trainer(task, SCAN)}


def scorer(task):
    return "JAX", Scorer(task)
