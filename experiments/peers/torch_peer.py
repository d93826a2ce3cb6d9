"""The training step and the scores in PyTorch: eager, and with the whole step (gradient and Adam) compiled."""

from __future__ import annotations

import functools
import math

import torch
import torch.nn.functional as F

from . import ours, threads

torch.set_num_threads(threads())
# Tensors beforehand: a compiled step must not come upon NumPy's arrays.
PRIORS = {model: tuple(map(torch.as_tensor, prior)) for model, prior in ours.PRIORS.items() if prior}


def mlp(params, prefix, x):
    n = sum(name.startswith(prefix) for name in params) // 2
    for i in range(n):
        x = torch.addmm(params[f"{prefix}.{i}.bias"], x, params[f"{prefix}.{i}.weight"])
        x = F.relu(x) if i < n - 1 else x
    return x


def objective(task, params, x, noise):
    """Mean over images of -log p(x|z) + KL; x (B, P) floats, noise (B, N, K or K-1)."""
    n, k, tau = task.n_variables, task.n_categories, task.temperature
    o = mlp(params, "encoder", x)
    if task.model == "gs":
        log_alpha = o.reshape(-1, n, k)
        y = F.log_softmax((log_alpha + noise) / tau, dim=-1)
        kl = exp_concrete(y, log_alpha, tau) - exp_concrete(y, torch.zeros_like(y), task.prior_temperature)
        z = torch.exp(y)
    else:
        mu, log_sigma = (half.reshape(-1, n, k - 1) for half in torch.chunk(o, 2, dim=-1))
        mu_0, log_sigma_0 = (value.to(o.dtype) for value in PRIORS[task.model])
        y = mu + torch.exp(log_sigma) * noise
        if task.model == "igr_planar":
            log_q = log_normal(mu, log_sigma, y)
            y, log_det = flows(params, y)
            kl = log_q - log_det - log_normal(mu_0, log_sigma_0, y)
        else:
            ratio = (torch.exp(2 * log_sigma) + (mu - mu_0) ** 2) * torch.exp(-2 * log_sigma_0)
            kl = torch.sum((ratio - 1) / 2 - log_sigma + log_sigma_0, dim=-1)
        if task.model == "igr_sb":
            rest = torch.cumsum(F.logsigmoid(-y), dim=-1)
            y = torch.exp(F.logsigmoid(y) + F.pad(rest, (1, 0))[..., :-1])
        z = F.softmax(F.pad(y / tau, (0, 1)), dim=-1)
    logits = mlp(params, "decoder", z.reshape(len(x), -1))
    log_p = -F.binary_cross_entropy_with_logits(logits, x, reduction="none").sum(dim=-1)
    return torch.mean(torch.sum(kl, dim=-1) - log_p)


def exp_concrete(y, log_alpha, tau):
    """log density of y = log z (Maddison et al. 2017), summed over the categories."""
    k = y.shape[-1]
    tilted = log_alpha - tau * y
    total = torch.sum(tilted, dim=-1) - k * torch.logsumexp(tilted, dim=-1)
    return total + math.lgamma(k) + (k - 1) * math.log(tau)


def log_normal(mu, log_sigma, y):
    """log N(y | mu, sigma^2), summed over the coordinates."""
    standard = (y - mu) * torch.exp(-log_sigma)
    return torch.sum(-0.5 * standard**2 - log_sigma - 0.5 * math.log(2 * math.pi), dim=-1)


def flows(params, y):
    """(two planar flows of y (B, N, K-1), log|det J| (B, N))."""
    log_det = 0
    for i in range(2):
        w, u, b = (params[f"flow.{i}.{name}"] for name in "wub")
        c = torch.sum(w * u, dim=-1)
        psi = F.softplus(c) - 1
        constrained = u + ((psi - c) / torch.sum(w * w, dim=-1))[:, None] * w
        h = torch.tanh(torch.sum(w * y, dim=-1) + b)
        log_det = log_det + torch.log1p((1 - h * h) * psi)
        y = y + constrained * h[..., None]
    return y, log_det


class Trainer:
    """Eager: autograd and the library's fused Adam. Compiled: loss, gradient and Adam as one compiled function."""

    def __init__(self, task, compiled):
        self.task, self.compiled, self.t = task, compiled, 0
        self.images = torch.from_numpy(task.images.copy())
        self.params = {name: torch.tensor(p, requires_grad=not compiled) for name, p in task.params.items()}
        if compiled:
            self.m, self.v = ({k: torch.zeros_like(p) for k, p in self.params.items()} for _ in range(2))
            self.gradient = torch.func.grad_and_value(functools.partial(objective, task))
            self.step = torch.compile(self._whole_step)
        else:
            self.adam = torch.optim.Adam(self.params.values(), lr=task.learning_rate, eps=1e-7, fused=True)

    def _draw(self, n):
        size = (n, self.task.n_variables, self.task.n_categories - (self.task.model != "gs"))
        return -torch.log(torch.empty(size).exponential_()) if self.task.model == "gs" else torch.randn(size)

    def _whole_step(self, images, rows, params, m, v, rate):
        grads, loss = self.gradient(params, images[rows].float(), self._draw(len(rows)))
        for name, p in params.items():
            g = grads[name]
            m[name].mul_(0.9).add_(0.1 * g)
            v[name].mul_(0.999).add_(0.001 * g * g)
            p.sub_(rate * m[name] / (v[name].sqrt() + 1e-7))
        return loss

    def run(self, steps):
        for _ in range(steps):
            rows = torch.from_numpy(self.task.rows(self.t))
            self.t += 1
            if self.compiled:
                rate = self.task.learning_rate * math.sqrt(1 - 0.999**self.t) / (1 - 0.9**self.t)
                loss = self.step(self.images, rows, self.params, self.m, self.v, torch.tensor(rate))
            else:
                loss = objective(self.task, self.params, self.images[rows].float(), self._draw(len(rows)))
                loss.backward()
                self.adam.step()
                self.adam.zero_grad()
        return float(loss.detach())

    def check(self, x, noise):
        params = {name: torch.tensor(p, requires_grad=True) for name, p in self.task.params.items()}
        loss = objective(self.task, params, torch.from_numpy(x), torch.from_numpy(noise))
        loss.backward()
        return float(loss.detach()), {name: p.grad.numpy() for name, p in params.items()}


class Scorer:
    """One compiled function for an image; codes as indicators u >= cdf, as in ours."""

    def __init__(self, task):
        self.task = task
        params = {name: torch.tensor(p) for name, p in task.params.items() if name.startswith("decoder")}
        weight = params["decoder.0.weight"].reshape(task.n_variables, task.n_categories, -1)
        params["decoder.0.bias"] += weight[:, 0].sum(dim=0)
        params["decoder.0.weight"] = (weight[:, 1:] - weight[:, :-1]).reshape(-1, weight.shape[-1])
        self.params, self.one = params, torch.compile(self._one)

    def _log_p(self, x, hidden):
        logits = mlp(self.params, "decoder", hidden)
        return -F.binary_cross_entropy_with_logits(logits, x.expand_as(logits), reduction="none").sum(dim=-1)

    def _one(self, x, log_probs):
        m, (n, k) = self.task.m, log_probs.shape
        cdf = torch.cumsum(torch.exp(log_probs), dim=-1)[:, :-1]
        above = (torch.rand(m, n)[..., None] >= cdf).float().reshape(m, -1)
        log_q = torch.sum(log_probs[:, 0]) + above @ (log_probs[:, 1:] - log_probs[:, :-1]).reshape(-1)
        return torch.logsumexp(self._log_p(x, above) - log_q, dim=0) - n * math.log(k) - math.log(m)

    def run(self, x, log_probs):
        with torch.no_grad():
            pairs = zip(torch.from_numpy(x), torch.from_numpy(log_probs.astype("float32")), strict=True)
            return torch.stack([self.one(*pair) for pair in pairs]).numpy()

    def check(self, x, indicators):
        return self._log_p(torch.from_numpy(x), torch.from_numpy(indicators)).numpy().astype("float64")


version = torch.__version__


def trainers(task):
    return {"PyTorch, eager": Trainer(task, False), "PyTorch, compiled": Trainer(task, True)}


def scorer(task):
    return "PyTorch, compiled", Scorer(task)
