"""The relaxation families of the VAE: what an encoder's output says of q(z|x), and the prior that goes with it.

    o --posterior--> q(z|x);   gradients by q's parameters --output_bar--> the cotangent on o
N variables of K categories each; o (..., E) has N K numbers (Gumbel-Softmax) or 2 N (K-1) (IGR: mu, then log sigma).
"""

from __future__ import annotations

from ..backend import namespace
from ..distributions import IGR, GumbelSoftmax
from ..estimators.relax import bounded_parameters
from ..transforms import Chain, SoftmaxPlusPlus, StickBreaking
from ..transforms.base import check_temperature
from ..transforms.planar_flows import PlanarFlows


class Family:
    """How the encoder's output o (..., E) becomes q(z|x), and what the prior is; in single precision for float32.

    posterior(o, own)     the relaxation; `own` holds the family's own parameters ({} for most)
    prior(q)              the prior that goes with q
    output_bar(grads, o)  the estimator's gradients as a cotangent on o; chained: they are by o's own parts already
    own_bars(grads)       those of the own parameters among them, summed over samples and images
    init(rng, dtype)      fresh own parameters, as NumPy arrays
    outputs, noise_size   E, and the number of noise draws an image takes; `noise` names their law
    """

    def init(self, rng, dtype):
        return {}

    def own_bars(self, grads):
        return {}


def replica_temperature(temperature):
    """The temperature of a family: a number, or one for each replica, an array (R, 1, 1, 1, 1) against (R, S, B, N, K).

    An array of another shape could broadcast against variables or images without anyone noticing: ValueError.
    """
    shape = getattr(temperature, "shape", ())
    if shape not in ((), (*shape[:1], 1, 1, 1, 1)):
        raise ValueError(f"temperature must be a number or an array (R, 1, 1, 1, 1), got shape {shape}")
    return check_temperature(temperature)


class GumbelSoftmaxFamily(Family):
    """o (..., N K) = log_alpha. Prior: uniform log_alpha at `prior_temperature` (default: the same temperature)."""

    noise = "gumbel"

    def __init__(self, n_variables, n_categories, temperature, prior_temperature=None):
        self.n, self.k, self.temperature = n_variables, n_categories, replica_temperature(temperature)
        self.prior_temperature = temperature if prior_temperature is None else replica_temperature(prior_temperature)
        self.outputs = self.noise_size = n_variables * n_categories

    def posterior(self, o, own):
        return GumbelSoftmax(o.reshape(*o.shape[:-1], self.n, self.k), self.temperature, validate=False, precise=False)

    def prior(self, q):
        xp, _ = namespace(q.log_alpha)
        uniform = xp.zeros((self.n, self.k), dtype=q.log_alpha.dtype)
        return GumbelSoftmax(uniform, self.prior_temperature, validate=False, precise=False)

    def output_bar(self, grads, o, chained=False):
        bar = grads["log_alpha"]
        return bar.reshape(*bar.shape[:-2], self.outputs)


class IGRFamily(Family):
    """o (..., 2 N (K-1)): mu, then log_sigma. Prior: N(mu_0, sigma_0^2), one number each or (K-1,), on the same g.

    `transform` takes (..., K-1) to the simplex (..., K): softmax++ for IGR-I, eq. 18's chain for IGR-SB.
    """

    noise = "normal"

    def __init__(self, n_variables, n_categories, transform, prior_mu, prior_log_sigma):
        self.n, self.k, self.transform = n_variables, n_categories, transform
        self.prior_mu, self.prior_log_sigma = prior_mu, prior_log_sigma
        self.noise_size = n_variables * (n_categories - 1)
        self.outputs = 2 * self.noise_size
        self._priors = {}  # by namespace and dtype

    def _parameters(self, o):
        shape = (*o.shape[:-1], self.n, self.k - 1)
        half = self.outputs // 2
        return o[..., :half].reshape(shape), o[..., half:].reshape(shape)

    def posterior(self, o, own):
        return IGR(*self._parameters(o), self.transform, validate=False)

    def prior(self, q):
        xp, _ = namespace(q.mu)
        key = (xp.__name__, q.mu.dtype)
        if key not in self._priors:
            shape = (self.n, self.k - 1)
            mu, log_sigma = (
                xp.broadcast_to(xp.asarray(value, dtype=q.mu.dtype), shape)
                for value in (self.prior_mu, self.prior_log_sigma)
            )
            self._priors[key] = IGR(mu, log_sigma, self.transform, validate=False)
        return self._priors[key]

    def output_bar(self, grads, o, chained=False):
        xp, _ = namespace(grads["mu"])
        flat = (*grads["mu"].shape[:-2], self.outputs // 2)
        return xp.concatenate([grads["mu"].reshape(flat), grads["log_sigma"].reshape(flat)], axis=-1)


class BoundedFamily(IGRFamily):
    """IGR-I with mu and sigma kept in the box of eq. 37, as the paper trains it with RELAX."""

    def posterior(self, o, own):
        return self.bounded(o)[0]

    def bounded(self, o):
        """(q, eq. 37 at o); the pullback of the latter takes gradients by mu and log_sigma to those by o's parts."""
        mu, log_sigma, chain = bounded_parameters(*self._parameters(o))
        return IGR(mu, log_sigma, self.transform, validate=False), chain

    def output_bar(self, grads, o, chained=False):
        return super().output_bar(grads if chained else self.bounded(o)[1].pullback(grads), o)


class PlanarFamily(IGRFamily):
    """IGR-Planar: two planar flows, each variable its own, before softmax++. The prior has no flow.

    Own parameters "0.w", "0.u" (N, K-1) and "0.b" (N,), then "1.w", ..., with or without a replica axis in front.
    """

    FLOWS = 2
    START = 0.05  # standard deviation of w and u at the start; b starts at 0

    def init(self, rng, dtype):
        own = {}
        for i in range(self.FLOWS):
            for name in ("w", "u"):
                own[f"{i}.{name}"] = (self.START * rng.standard_normal((self.n, self.k - 1))).astype(dtype)
            own[f"{i}.b"] = own[f"{i}.w"][:, 0] * 0
        return own

    def posterior(self, o, own):
        xp, _ = namespace(o)
        axes = {"w": -2, "u": -2, "b": -1}  # of the flows
        parts = {n: xp.stack([own[f"{i}.{n}"] for i in range(self.FLOWS)], axis=a) for n, a in axes.items()}
        flows = PlanarFlows(**parts, precise=False)
        return IGR(*self._parameters(o), Chain(flows, self.transform), validate=False)

    def own_bars(self, grads):
        """The flows are the first link of q's chain, and its gradients are such sums (`transforms.planar_flows`)."""
        w, u, b = (grads[f"0.{name}"] for name in "wub")
        each = ({"w": w[..., i, :], "u": u[..., i, :], "b": b[..., i]} for i in range(self.FLOWS))
        return {f"{i}.{name}": bar for i, bars in enumerate(each) for name, bar in bars.items()}


def _softmax(temperature, delta):
    return SoftmaxPlusPlus(replica_temperature(temperature), delta, precise=False)


def igr_bounded_family(n_variables, n_categories, temperature, prior_mu, prior_log_sigma, delta=1.0):
    """IGR-I inside the box of eq. 37."""
    return BoundedFamily(n_variables, n_categories, _softmax(temperature, delta), prior_mu, prior_log_sigma)


def igr_planar_family(n_variables, n_categories, temperature, prior_mu, prior_log_sigma, delta=1.0):
    """IGR-Planar: two nested planar flows, then softmax++."""
    return PlanarFamily(n_variables, n_categories, _softmax(temperature, delta), prior_mu, prior_log_sigma)


def igr_i_family(n_variables, n_categories, temperature, prior_mu, prior_log_sigma, delta=1.0):
    """IGR-I: softmax++ (eq. 15)."""
    return IGRFamily(n_variables, n_categories, _softmax(temperature, delta), prior_mu, prior_log_sigma)


def igr_sb_family(n_variables, n_categories, temperature, prior_mu, prior_log_sigma, delta=1.0):
    """IGR-SB with K-1 sticks: stick-breaking, then softmax++ (eq. 18)."""
    transform = Chain(StickBreaking(precise=False), _softmax(temperature, delta))
    return IGRFamily(n_variables, n_categories, transform, prior_mu, prior_log_sigma)
