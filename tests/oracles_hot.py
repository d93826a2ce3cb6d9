"""Plain versions of the hot path: layers, pixel loss, Adam, gather and normals, as a textbook writes them.

In float64 or longer, one array for each line, nothing in place, and no code of igr_ref.
"""

from __future__ import annotations

import numpy

LONG = numpy.longdouble


def mlp(params, x):
    """ReLU between dense layers, none after the last; a replica axis may lead."""
    last = len(params) // 2 - 1
    for i in range(last + 1):
        x = numpy.einsum("...bi,...io->...bo", x, params[f"{i}.weight"]) + params[f"{i}.bias"][..., None, :]
        x = numpy.where(x > 0, x, 0) if i < last else x
    return x


def bernoulli(x, logits):
    """(log p, d log p/dlogits): logaddexp over every pixel."""
    x, l = LONG(x), LONG(logits)
    return numpy.sum(x * l - numpy.logaddexp(0, l), axis=-1), x - 1 / (1 + numpy.exp(-l))


def adam(params, grads_of_steps, rate, epsilon=1e-7):
    """The parameters after a list of gradients, from m = v = 0, in float64."""
    p = {name: value.astype("f8") for name, value in params.items()}
    m, v = ({name: numpy.zeros(value.shape) for name, value in p.items()} for _ in range(2))
    for t, grads in enumerate(grads_of_steps, 1):
        for name in p:
            g = grads[name].astype("f8")
            m[name] = 0.9 * m[name] + 0.1 * g
            v[name] = 0.999 * v[name] + 0.001 * g**2
            lr = rate * numpy.sqrt(1 - 0.999**t) / (1 - 0.9**t)
            p[name] = p[name] - lr * m[name] / (numpy.sqrt(v[name]) + epsilon)
    return p


def gather(images, rows, binary, dtype):
    """Images by their numbers, one after the other."""
    return numpy.stack([images[row].astype("f8") / (1 if binary else 255) for row in rows]).astype(dtype)


def box_muller(u, v):
    """Two normals from two uniforms."""
    r = numpy.sqrt(-2 * numpy.log(LONG(u)))
    a = 2 * numpy.pi * LONG(v)
    return r * numpy.cos(a), r * numpy.sin(a)
