"""The same training step in PyTorch (eager; compiled, as a CUDA graph) and in JAX (jit), where they are installed.

One loss for R replicas, written once over a few operations that every array library has under some name; noise and
minibatches are drawn on the device by the library's own generator, as its users would.

    IGR-I   y = mu + sigma eps,  z = softmax(y/tau, 0),  KL of eq. 13 to N(mu_0, sigma_0^2);
    GS      y = log softmax((log_alpha + G)/tau),  z = e^y,  KL sampled: log q(y) - log p(y), one temperature for both.
"""

from __future__ import annotations

import os
import types

import numpy

from .gpu_timing import repeated

N, K, TAU, MU_0, LOG_SIGMA_0, RATE = 20, 10, 0.3, -0.6, -0.1, 1e-4
HIDDEN = {"linear": (), "nonlinear": (512, 256)}


def widths(architecture, model, pixels):
    """(of the encoder, of the decoder)."""
    hidden = HIDDEN[architecture]
    return (pixels, *hidden, N * K if model == "gs" else 2 * N * (K - 1)), (N * K, *hidden[::-1], pixels)


def init(architecture, model, replicas, pixels, rng):
    """A list of (weight (R, in, out), bias (R, 1, out)), the encoder's first, as float32 NumPy arrays."""
    layers = []
    for w in widths(architecture, model, pixels):
        for a, b in zip(w, w[1:], strict=False):
            limit = (6 / (a + b)) ** 0.5
            weight = rng.uniform(-limit, limit, (replicas, a, b)).astype("float32")
            layers.append((weight, numpy.zeros((replicas, 1, b), "float32")))
    return layers


def loss(ops, layers, x, noise, model):
    """Sum over replicas of the mean loss of x (R, B, P) with noise (R, B, N, K or K-1)."""
    half = len(layers) // 2

    def mlp(h, part):
        for i, (weight, bias) in enumerate(part):
            h = ops.matmul(h, weight) + bias
            h = ops.relu(h) if i + 1 < len(part) else h
        return h

    o = mlp(x, layers[:half])
    lead = tuple(x.shape[:2])
    if model == "gs":
        log_alpha = ops.reshape(o, (*lead, N, K))
        y = ops.log_softmax((log_alpha + noise) / TAU)
        z = ops.exp(y)
        kl = ops.sum(ops.log_softmax(log_alpha - TAU * y) - ops.log_softmax(-TAU * y), (-2, -1))
    else:
        size = N * (K - 1)
        mu, log_sigma = (ops.reshape(part, (*lead, N, K - 1)) for part in (o[..., :size], o[..., size:]))
        y = (mu + ops.exp(log_sigma) * noise) / TAU
        z = ops.exp(ops.log_softmax(ops.concatenate([y, 0 * y[..., :1]])))
        r = 2 * (log_sigma - LOG_SIGMA_0)
        offset = (mu - MU_0) * float(numpy.exp(-LOG_SIGMA_0))
        kl = ops.sum(0.5 * (ops.exp(r) - 1 - r + offset * offset), (-2, -1))
    logits = mlp(ops.reshape(z, (*lead, N * K)), layers[half:])
    return ops.sum(ops.sum(ops.softplus(logits) - x * logits, -1) + kl, (0, 1)) / lead[1]


def jax_step(architecture, model, replicas, images, batch):
    """(step, wait): one jitted step, updating parameters and Adam's state that it owns."""
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    import jax
    import jax.numpy as jnp

    jax.config.update("jax_default_matmul_precision", "highest")  # float32 products, as CuPy's and PyTorch's are

    ops = types.SimpleNamespace(
        matmul=jnp.matmul, relu=jax.nn.relu, exp=jnp.exp, sum=jnp.sum, reshape=jnp.reshape, softplus=jax.nn.softplus,
        log_softmax=jax.nn.log_softmax, concatenate=lambda parts: jnp.concatenate(parts, axis=-1),
    )  # fmt: skip
    tree = jax.tree_util.tree_map
    layers = tree(jnp.asarray, init(architecture, model, replicas, images.shape[1], numpy.random.default_rng(0)))
    data, k = jnp.asarray(images), K if model == "gs" else K - 1
    draw = jax.random.gumbel if model == "gs" else jax.random.normal

    def update(layers, m, v, t):
        key = jax.random.fold_in(jax.random.key(0), t)
        rows = jax.random.randint(key, (replicas, batch), 0, len(images))
        x, noise = data[rows].astype("float32"), draw(jax.random.fold_in(key, 1), (replicas, batch, N, k), "float32")
        grads = jax.grad(lambda layers: loss(ops, layers, x, noise, model))(layers)
        m = tree(lambda m, g: 0.9 * m + 0.1 * g, m, grads)
        v = tree(lambda v, g: 0.999 * v + 0.001 * g * g, v, grads)
        rate = RATE * jnp.sqrt(1 - 0.999**t) / (1 - 0.9**t)
        return tree(lambda p, m, v: p - rate * m / (jnp.sqrt(v) + 1e-7), layers, m, v), m, v, t + 1

    zeros = tree(jnp.zeros_like, layers)
    state = [(layers, zeros, tree(jnp.zeros_like, layers), jnp.float32(1))]
    jitted = jax.jit(update, donate_argnums=(0, 1, 2))

    def step():
        state[0] = jitted(*state[0][:3], state[0][3])

    return step, lambda: jax.block_until_ready(state[0])


def torch_parts(architecture, model, replicas, images, batch, where):
    """(layers, images, a function of both that draws a minibatch and its noise and returns the loss)."""
    import torch

    ops = types.SimpleNamespace(
        matmul=torch.matmul, relu=torch.relu, exp=torch.exp, sum=torch.sum, reshape=torch.reshape,
        softplus=torch.nn.functional.softplus, log_softmax=lambda a: torch.log_softmax(a, -1),
        concatenate=lambda parts: torch.cat(parts, -1),
    )  # fmt: skip
    fresh = init(architecture, model, replicas, images.shape[1], numpy.random.default_rng(0))
    layers = [tuple(torch.tensor(a, device=where) for a in pair) for pair in fresh]
    data, k = torch.tensor(images, device=where), K if model == "gs" else K - 1

    def drawn(layers, data):
        rows = torch.randint(len(data), (replicas, batch), device=where)
        shape = (replicas, batch, N, k)
        if model == "gs":
            noise = -torch.empty(shape, device=where).exponential_().log()
        else:
            noise = torch.randn(shape, device=where)
        return loss(ops, layers, data[rows].float(), noise, model)

    return layers, data, drawn


def torch_step(architecture, model, replicas, images, batch, where):
    """(step, wait): an eager step with torch.optim.Adam."""
    import torch

    layers, data, drawn = torch_parts(architecture, model, replicas, images, batch, where)
    flat = [a.requires_grad_() for pair in layers for a in pair]
    adam = torch.optim.Adam(flat, RATE, eps=1e-7, fused=where == "cuda")

    def step():
        adam.zero_grad()
        drawn(layers, data).backward()
        adam.step()

    return step, _torch_wait(where)


def torch_whole_step(layers, data, drawn, make=lambda step: step):
    """A function of nothing: gradient and Adam on tensors that stay. make: what becomes of the step (torch.compile)."""
    import torch

    m, v = ([tuple(map(torch.zeros_like, pair)) for pair in layers] for _ in range(2))
    t = torch.zeros((), device=data.device)
    gradient = torch.func.grad(drawn)

    @make
    def step(layers, m, v, t, data):
        t.add_(1)
        rate = RATE * torch.sqrt(1 - 0.999**t) / (1 - 0.9**t)
        for own, of_m, of_v, gs in zip(layers, m, v, gradient(layers, data), strict=True):
            for p, m_p, v_p, g in zip(own, of_m, of_v, gs, strict=True):
                m_p.mul_(0.9).add_(0.1 * g)
                v_p.mul_(0.999).add_(0.001 * g * g)
                p.sub_(rate * m_p / (torch.sqrt(v_p) + 1e-7))

    return lambda: step(layers, m, v, t, data)


def torch_compiled_step(architecture, model, replicas, images, batch, where):
    """(step, wait): the whole step compiled, and on a GPU recorded as one CUDA graph."""
    import torch

    parts = torch_parts(architecture, model, replicas, images, batch, where)
    step = torch_whole_step(*parts, torch.compile)
    if where != "cuda":
        return step, _torch_wait(where)
    apart = torch.cuda.Stream()
    apart.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(apart):  # compiled and warm before the recording
        for _ in range(3):
            step()
    torch.cuda.current_stream().wait_stream(apart)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step()
    return graph.replay, _torch_wait(where)


def _torch_wait(where):
    import torch

    return torch.cuda.synchronize if where == "cuda" else lambda: None


STEPS = {  # name: (library, what makes its step)
    "torch": ("torch", torch_step),
    "torch, compiled": ("torch", torch_compiled_step),
    "jax": ("jax", jax_step),
}


def timings(device, replicas, images, seconds, pairs, batch=100, say=lambda text: None):
    """A row for each rival, architecture, model and number of replicas; an error's text where one does not run."""
    rows = []
    where = "cuda" if device == "gpu" else "cpu"
    for name, (library, make) in STEPS.items():
        try:
            __import__(library)
        except ImportError:
            rows.append({"library": name, "error": "not installed"})
            continue
        for architecture, model in pairs:
            for r in replicas:
                row = {"library": name, "architecture": architecture, "model": model, "replicas": r}
                try:
                    step, wait = make(architecture, model, r, images, batch, *((where,) if library == "torch" else ()))
                    row["step"] = repeated(step, wait, seconds)
                except Exception as error:
                    row["error"] = f"{type(error).__name__}: {error}"
                rows.append(row)
                say(str(row))
    return rows
