"""The VAE's objective written out once more, in autograd.numpy, from the paper's formulas: no code of igr_ref.models.

Stops (sticking the landing) are realised by a second, constant copy of the encoder's outputs.
"""

from __future__ import annotations

import autograd.numpy as anp


def mlp(params, prefix, x):
    n = sum(1 for name in params if name.startswith(prefix) and name.endswith("weight"))
    for i in range(n):
        x = anp.dot(x, params[f"{prefix}.{i}.weight"]) + params[f"{prefix}.{i}.bias"]
        if i < n - 1:
            x = x * (x > 0)
    return x


def softmax(a):
    e = anp.exp(a - anp.max(a, axis=-1, keepdims=True))
    return e / anp.sum(e, axis=-1, keepdims=True)


def log_normal(y, mu, log_sigma):
    return -0.5 * ((y - mu) / anp.exp(log_sigma)) ** 2 - log_sigma - 0.5 * anp.log(2 * anp.pi)


def planar(params, y):
    """Two planar flows on (..., N, K-1), and the sum of their log-determinants (..., N)."""
    log_det = 0.0
    for i in range(2):
        w, u, b = (params[f"flow.{i}.{name}"] for name in "wub")
        c = anp.sum(w * u, axis=-1)
        u = u + ((anp.log1p(anp.exp(c)) - 1 - c) / anp.sum(w * w, axis=-1))[:, None] * w
        h = anp.tanh(anp.sum(w * y, axis=-1) + b)
        log_det = log_det + anp.log(anp.abs(1 + (1 - h**2) * anp.sum(w * u, axis=-1)))
        y = y + u * h[..., None]
    return y, log_det


def unplanar(stopped, x, y):
    """The inverse of `planar` with constant parameters, at x = planar(y): its value y and its first derivative."""
    jacobian = anp.eye(y.shape[-1])
    at = y
    for i in range(2):
        w, u, b = (stopped[f"flow.{i}.{name}"] for name in "wub")
        c = anp.sum(w * u, axis=-1)
        u = u + ((anp.log1p(anp.exp(c)) - 1 - c) / anp.sum(w * w, axis=-1))[:, None] * w
        h = anp.tanh(anp.sum(w * at, axis=-1) + b)
        jacobian = anp.matmul(anp.eye(y.shape[-1]) + (1 - h**2)[..., None, None] * u[:, :, None] * w[:, None], jacobian)
        at = at + u * h[..., None]
    return y + anp.einsum("...ij,...j->...i", anp.linalg.inv(jacobian), x - at)


def box(kind, mu, sigma):
    """(mu, log_sigma) from the encoder's outputs: as they are, or through eq. 37."""
    if kind != "igr_bounded":
        return mu, sigma
    return -5 * anp.tanh(mu), anp.log(0.5 + 2 / (1 + anp.exp(-sigma)))


def igr_sample(kind, y, tau):
    if kind == "igr_sb":
        u = 1 / (1 + anp.exp(-y))
        sticks, left = [], 1.0
        for i in range(y.shape[-1]):
            sticks.append(u[..., i] * left)
            left = left * (1 - u[..., i])
        y = anp.stack(sticks, axis=-1)
    return softmax(anp.concatenate([y / tau, anp.zeros(y.shape[:-1] + (1,))], axis=-1))


def log_p_bernoulli(x, logits):
    return anp.sum(x * logits - anp.logaddexp(0, logits), axis=-1)


def log_p_gaussian(x, outputs):
    outputs = anp.where(outputs > 0, outputs, anp.exp(anp.minimum(outputs, 0)) - 1)
    n = outputs.shape[-1] // 2
    m, v = anp.exp(-anp.logaddexp(0, -outputs[..., :n])), anp.logaddexp(0, outputs[..., n:]) + 1e-6
    return anp.sum(-0.5 * ((x - m) / v) ** 2 - 0.5 * anp.log(2 * anp.pi) - anp.log(v), axis=-1)


def exp_concrete(y, log_alpha, tau):
    k = y.shape[-1]
    t = log_alpha - tau * y
    lse = anp.log(anp.sum(anp.exp(t - anp.max(t, axis=-1, keepdims=True)), axis=-1)) + anp.max(t, axis=-1)
    return anp.sum(anp.log(anp.arange(1, k))) + (k - 1) * anp.log(tau) + anp.sum(t, axis=-1) - k * lse


def objective(params, stopped, x, noise, kind, estimator, tau, prior, log_p):
    """Mean over samples and images of -log p(x|z) + KL; noise (S, B, N, .); `stopped`: a constant copy of params.

    prior: (mu_0, log_sigma_0) for IGR, the prior's temperature for Gumbel-Softmax.
    """
    n, k = noise.shape[-2], noise.shape[-1]
    o, fixed = mlp(params, "encoder", x), mlp(stopped, "encoder", x)
    if kind == "gs":
        shape = (x.shape[0], n, k)
        log_alpha, log_alpha_fixed = o.reshape(shape), fixed.reshape(shape)
        l = (log_alpha + noise) / tau
        y = l - anp.log(anp.sum(anp.exp(l - anp.max(l, axis=-1, keepdims=True)), axis=-1, keepdims=True))
        y = y - anp.max(l, axis=-1, keepdims=True)
        z = anp.exp(y)
        q = log_alpha if estimator == "plain" else log_alpha_fixed
        kl = exp_concrete(y, q, tau) - exp_concrete(y, anp.zeros((n, k)), prior)
    else:
        shape, half = (x.shape[0], n, k), n * k
        mu, log_sigma = box(kind, o[:, :half].reshape(shape), o[:, half:].reshape(shape))
        mu_c, log_sigma_c = box(kind, fixed[:, :half].reshape(shape), fixed[:, half:].reshape(shape))
        mu_0, log_sigma_0 = prior
        y = mu + anp.exp(log_sigma) * noise
        x_0 = planar(params, y)[0] if kind == "igr_planar" else y
        z = igr_sample(kind, x_0, tau)
        if kind == "igr_planar":
            if estimator == "plain":
                log_q = anp.sum(log_normal(y, mu, log_sigma), axis=-1) - planar(params, y)[1]
            else:
                y_c = unplanar(stopped, x_0, mu_c + anp.exp(log_sigma_c) * noise)
                log_q = anp.sum(log_normal(y_c, mu_c, log_sigma_c), axis=-1) - planar(stopped, y_c)[1]
            kl = log_q - anp.sum(log_normal(x_0, mu_0, log_sigma_0), axis=-1)
        elif estimator == "plain":
            ratio = (anp.exp(2 * log_sigma) + (mu - mu_0) ** 2) / anp.exp(2 * log_sigma_0)
            kl = anp.sum(0.5 * (ratio - 1) - log_sigma + log_sigma_0, axis=-1)
        else:
            kl = anp.sum(log_normal(y, mu_c, log_sigma_c) - log_normal(y, mu_0, log_sigma_0), axis=-1)
    outputs = mlp(params, "decoder", z.reshape(*z.shape[:2], -1))
    return anp.mean(-log_p(x, outputs)) + anp.mean(anp.sum(kl, axis=-1))
