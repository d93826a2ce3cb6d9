"""Closed divergences and the density of IGR-Planar: two oracles on 1,000 configurations, see thousand_checks."""

from __future__ import annotations

import autograd.numpy as anp
import numpy

from igr_ref import IGR, SoftmaxPlusPlus
from igr_ref.distributions import InfiniteIGR, igr_planar
from igr_ref.transforms import PlanarFlow

from . import oracles_transforms as more
from .gradcheck import check_rows
from .thousand_checks import LONG, blocks, check_slope, check_tape


def test_closed_kl():
    for rng, k, n, tau in blocks(1):
        g = SoftmaxPlusPlus(tau)
        mu, mu_0 = rng.standard_normal((2, n, k - 1))
        log_sigma, log_sigma_0 = rng.uniform(-1.5, 1.5, (2, n, k - 1))
        bar, kept = rng.standard_normal(n), rng.integers(1, k, n)
        sigma, sigma_0 = numpy.exp(LONG(log_sigma)), numpy.exp(LONG(log_sigma_0))
        book = {"mu": (LONG(mu) - mu_0) / sigma_0**2, "log_sigma": (sigma / sigma_0) ** 2 - 1}
        book = {name: bar[:, None] * each for name, each in book.items()}
        p = IGR(mu_0, log_sigma_0, g)
        label = {"equation": "eq. 13", "function": "distributions.IGR.kl_vjp"}
        got = IGR(mu, log_sigma, g).kl_vjp(p, bar)
        for name in got:
            check_rows(got[name], book[name], oracle="longdouble", **label)
        check_tape(
            got.values(), lambda m, s, p=p, bar=bar: anp.sum(bar * IGR(m, s, p.transform, validate=False).kl(p)),
            (mu, log_sigma), **label,
        )  # fmt: skip
        label["function"] = "distributions.infinite.InfiniteIGR.kl_vjp"
        prior = mu_0, log_sigma_0, kept
        got = InfiniteIGR(mu, log_sigma, 0.5, 0.9).kl_vjp(*prior, bar)
        inside = numpy.arange(k - 1) < kept[:, None]
        for name in got:
            check_rows(got[name], numpy.where(inside, book[name], 0), oracle="longdouble", **label)
        check_tape(
            got.values(),
            lambda m, s, prior=prior, bar=bar: anp.sum(
                bar * InfiniteIGR(m, s, 0.5, 0.9, validate=False).kl(*prior)
            ),
            (mu, log_sigma), **label,
        )  # fmt: skip


def textbook_planar_log_prob(tau):
    """log q(z) at z = softmax++(f(y)/tau), from y, mu, log_sigma and two flows."""

    def log_prob(y, mu, log_sigma, *flow):
        x, log_det = more.flows(y, [flow[:3], flow[3:]])
        logits = numpy.concatenate([x / LONG(tau), numpy.zeros_like(x[:, :1])], axis=-1)
        top = numpy.max(logits.real, axis=-1, keepdims=True)
        log_sum = top + numpy.log(numpy.sum(numpy.exp(logits - top), axis=-1, keepdims=True))
        log_det = log_det + numpy.sum(logits - log_sum, axis=-1) - x.shape[-1] * numpy.log(LONG(tau[:, 0]))
        return more.log_normal(mu, log_sigma, y) - log_det

    return log_prob


def test_density_of_igr_planar():
    for rng, k, n, tau in blocks(2, ((2, 350), (3, 350), (10, 270), (100, 30))):
        shapes = [(n, k - 1)] * 5 + [(n,)] + [(n, k - 1)] * 2 + [(n,)]
        args = [0.7 * rng.standard_normal(shape) for shape in shapes]
        for i in (3, 4, 6, 7):
            args[i] = args[i] / (k - 1) ** 0.25 + 0.2
        bar = rng.standard_normal(n)

        def ours(y, mu, log_sigma, *flow, tau=tau):
            flows = [PlanarFlow(*flow[:3], validate=False), PlanarFlow(*flow[3:], validate=False)]
            return igr_planar(mu, log_sigma, flows, tau, validate=False), y

        q, y = ours(*args)
        bars, y_bar = q.log_prob_vjp(y, bar)
        got = [y_bar, bars["mu"], bars["log_sigma"], *(bars[f"{i}.{name}"] for i in "01" for name in "wub")]
        label = {"equation": "eq. 12", "function": "distributions.igr_planar.log_prob_vjp"}

        def traced(*args, ours=ours, bar=bar):
            q, y = ours(*args)
            return anp.sum(bar * q.log_prob(y))

        check_slope([g / bar.reshape(n, *(1,) * (g.ndim - 1)) for g in got], textbook_planar_log_prob(tau), args, rng,
                    **label)  # fmt: skip
        check_tape(got, traced, args, scale=1e-5 * abs(bar) * numpy.sqrt(k) / tau[:, 0], **label)
