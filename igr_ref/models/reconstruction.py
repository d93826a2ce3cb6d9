"""f(z) = -log p(x|z) of a VAE's decoder, as REBAR and RELAX use it: `VAE.reconstruction` with nothing computed in vain.

    f(z)           (value, df/dz): one pass forward and one back to z, not to the decoder's parameters;
    f.without_gradient(b)  the value; the parameters' gradients of its mean are `decoder_gradients()`, when asked for;
    f.hvp(z, t)    (d^2f/dz^2) t at the z of the last f(z), from its layers and p = x - dlog p(x|l)/dl = sigmoid(l):
                   with J = dl/dz (the ReLUs' masks are constant almost everywhere) J^T diag(p (1 - p)) J t.
z ([R,] ..., S, B, N, K), values ([R,] ..., S, B). Arrays in `work` are kept from step to step, those of f(z) and of
f.without_gradient(b) apart. With `batch_last`, what f(z) and f.hvp give lies in memory as ([R,] N, K, ..., S, B).
"""

from __future__ import annotations

from ..backend import namespace
from .buffers import Buffers
from .losses import Bernoulli
from .mlp import part


class Reconstruction:
    def __init__(self, model, params, x, work=None, batch_last=False):
        self.decoder, self.likelihood, self.x = model.decoder, model.likelihood, x
        self.params = part(params, "decoder")
        self.work = Buffers() if work is None else work
        self.smooth = isinstance(model.likelihood, Bernoulli)  # whether `hvp` is known
        self.batch_last, self._calls = batch_last, {}

    def __call__(self, z):
        log_p, bar, inputs = self._run(z, "relaxed")
        work = self.work.part("relaxed")
        _, z_bar = self.decoder.backward(self.params, inputs, bar, work=work, batch_last=self.batch_last)
        return -log_p, -z_bar.reshape(z.shape)

    def without_gradient(self, z):
        return -self._run(z, "codes")[0]

    def _run(self, z, name):
        work, lead, replicas = self.work.part(name), z.shape[:-2], self.params["0.weight"].ndim - 2
        rows = z.reshape(*lead[:replicas], -1, z.shape[-2] * z.shape[-1])
        outputs, inputs = self.decoder.run(self.params, rows, work)
        x = self.x.reshape(*lead[:replicas], *(1,) * (len(lead) - replicas - 1), *self.x.shape[-2:])
        log_p, bar = self.likelihood.log_prob_and_grad(x, outputs.reshape(*lead, -1), work.part("pixels"))
        self._calls[name] = (lead, inputs, bar.reshape(*rows.shape[:-1], -1))
        return log_p, self._calls[name][2], inputs

    def decoder_gradients(self):
        """By the decoder's parameters, of the mean over S and B of f at the last f.without_gradient(b)."""
        xp, _ = namespace(self.x)
        lead, inputs, bar = self._calls["codes"]
        work = self.work.part("codes")
        scaled = xp.multiply(bar, -1.0 / (lead[-2] * lead[-1]), out=work.empty("scaled", bar.shape, bar))
        grads, _ = self.decoder.pullback(self.params, inputs, scaled, False, work)
        return grads

    def hvp(self, z, t):
        xp, _ = namespace(z)
        lead, inputs, bar = self._calls["relaxed"]
        work = self.work.part("relaxed")
        last = len(inputs) - 1
        dot = t.reshape(inputs[0].shape)
        for i in range(last + 1):
            weight = self.params[f"{i}.weight"]
            dot = xp.matmul(dot, weight, out=work.empty(f"{i}.dot", (*dot.shape[:-1], weight.shape[-1]), dot))
            if i < last:
                xp.multiply(dot, inputs[i + 1] > 0, out=dot)
        p, rest = (work.empty(name, dot.shape, dot) for name in ("p", "1 - p"))
        x = self.x.reshape(*self.x.shape[:-2], 1, *self.x.shape[-2:])
        by_image = (*self.x.shape[:-2], -1, *self.x.shape[-2:])
        xp.subtract(x, bar.reshape(by_image), out=p.reshape(by_image))
        xp.subtract(1, p, out=rest)
        xp.multiply(p, rest, out=p)
        bar = xp.multiply(p, dot, out=dot)
        _, z_bar = self.decoder.backward(self.params, inputs, bar, work=work, batch_last=self.batch_last)
        return z_bar.reshape(z.shape) * 1
