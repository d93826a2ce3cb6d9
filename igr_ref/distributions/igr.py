"""The invertible Gaussian reparameterization.   y = mu + sigma eps (eq. 10),  z = g(y, tau) (eq. 11).

Density (eq. 12)         log q(z) = log N(y | mu, sigma^2) - log|det J_g(y)|,  y = g^{-1}(z), on S^{K-1} under
                         Lebesgue measure of the first K-1 coordinates.
KL (eq. 13)              KL(q || p) = KL(N(mu, sigma^2) || N(mu_0, sigma_0^2)) when q and p share g, tau and delta:
                         the Jacobian terms cancel. Where q has a flow f of its own before the shared g, p's Gaussian
                         lives at the flow's output x = f(y), and with log q(x) = log N(y) - log|det J_f(y)|
                         KL(q || p) = E[log q(x) - log N(x | mu_0, sigma_0^2)], sampled by the estimators.
Sample's pullback        y_bar = J_g^T z_bar,  mu_bar = y_bar,  log_sigma_bar = y_bar sigma eps.
"""

from __future__ import annotations

from ..backend import namespace
from ..precision import in_double
from ..transforms import Chain, Identity, Softmax, SoftmaxPlusPlus, StickBreaking, Transform
from ..transforms.base import check_coordinates
from . import gaussian
from .base import Relaxation, check_no_nan, check_parameters


@in_double
class IGR(Relaxation):
    """IGR with any transform g. Parameters mu, log_sigma: (..., K-1); noise eps ~ N(0, I): (..., K-1).

    `igr_i(mu, log_sigma, temperature)`, `igr_sb(...)` and `igr_planar(...)` build the paper's three. With
    validate=False the parameters are not inspected (the training loop checks its loss instead). It is as precise as g.
    """

    def __init__(self, mu, log_sigma, transform, validate=True):
        if validate:
            check_parameters(mu=mu, log_sigma=log_sigma)
            _check_transform(transform)
        self.mu, self.log_sigma, self.transform = mu, log_sigma, transform
        self.params = {"mu": mu, "log_sigma": log_sigma}
        self.precise, self.validate = transform.precise, validate
        self.n_categories = mu.shape[-1] + 1

    def _require(self, name, array):
        check_coordinates(name, array, self.n_categories - 1)

    def run(self, noise):
        self._require("noise", noise)
        y = gaussian.sample(self.mu, self.log_sigma, noise)
        z, saved = self.transform.run(y)
        return z, (noise, y, saved)

    def pullback(self, saved, z_bar):
        y_bar, transform_bars = self.transform.pullback(saved[2], z_bar)
        return {**self.pullback_y(saved, y_bar), **transform_bars}

    def pullback_y(self, saved, y_bar):
        """Gradients by mu and log_sigma of a cotangent on the Gaussian sample y itself."""
        mu_bar, log_sigma_bar = gaussian.sample_vjp(self.log_sigma, saved[0], y_bar)
        return {"mu": mu_bar, "log_sigma": log_sigma_bar}

    def log_prob(self, y):
        """log q(z) at z = g(y), from the Gaussian point y (..., K-1), where it is exact at every temperature."""
        self._require("y", y)
        return gaussian.log_prob(self.mu, self.log_sigma, y) - self.transform.log_det(y)

    def log_prob_vjp(self, y, bar):
        """(param_bars, y_bar) of a cotangent (...) on log_prob(y), parameters and y taken as independent."""
        self._require("y", y)
        mu_bar, log_sigma_bar, y_bar = gaussian.log_prob_vjp(self.mu, self.log_sigma, y, bar)
        det_bar, transform_bars = self.transform.vjp(y, None, -bar)
        return {"mu": mu_bar, "log_sigma": log_sigma_bar, **transform_bars}, y_bar + det_bar

    def log_prob_z(self, z):
        """log q(z) of a point z (..., K) with positive entries; needs an invertible g.

        ValueError where z, rounded, does not determine y: with sticks, where little is left for the last of them (some
        thirty categories are enough). `log_prob` of the Gaussian point is exact everywhere.
        """
        return self.log_prob(self.transform.inverse(z))

    def kl(self, p):
        """eq. 13, closed form, summed over the categories: (...). ValueError unless q and p share their g."""
        self.require_same_transform(p)
        return gaussian.kl(self.mu, self.log_sigma, p.mu, p.log_sigma)

    def kl_vjp(self, p, bar):
        """Gradients by q's parameters of a cotangent (...) on kl(p)."""
        self.require_same_transform(p)
        mu_bar, log_sigma_bar = gaussian.kl_vjp(self.mu, self.log_sigma, p.mu, p.log_sigma, bar)
        return {"mu": mu_bar, "log_sigma": log_sigma_bar}

    def kl_and_grads(self, p):
        """(kl(p), its gradients by q's parameters), at once."""
        self.require_same_transform(p)
        kl, mu_bar, log_sigma_bar = gaussian.kl_and_grads(self.mu, self.log_sigma, p.mu, p.log_sigma)
        return kl, {"mu": mu_bar, "log_sigma": log_sigma_bar}

    def same_transform(self, p):
        """Whether p's g is the same object as q's, or a chain of the same objects. ValueError unless p is IGR."""
        if not isinstance(p, IGR):
            raise ValueError(f"p must be IGR, as q is, got {type(p).__name__}")
        return _links(self.transform) == _links(p.transform)

    def require_same_transform(self, p):
        """eq. 13 needs one g for both: the same object, which is also the cheapest way to say so."""
        if not self.same_transform(p):
            raise ValueError("eq. 13 needs q and p built on the same transform object (same g, tau and delta)")

    def own_flows(self, p):
        """(f, f_0): what q and p each do before the links that they share at the end; Identity where that is nothing.

        ValueError unless they share the map onto the simplex, so that its log-determinant cancels in log q - log p.
        """
        own, other = _links(self.transform), _links(p.transform)
        shared = 0
        while shared < min(len(own), len(other)) and own[-1 - shared] is other[-1 - shared]:
            shared += 1
        heads = own[: len(own) - shared], other[: len(other) - shared]
        if shared == 0 or any(link.onto_simplex for head in heads for link in head):
            raise ValueError(
                "the KL needs q and p to share their map onto the simplex: the same transform object "
                "(same g, tau and delta) at the end of both chains, with nothing but flows before it"
            )
        return tuple(Chain(*head) if head else Identity() for head in heads)

    @staticmethod
    def flow_run(flow, saved):
        """flow.run(y) of the y that `run` drew, for q's of `own_flows`: from what was saved, nothing is run again."""
        _, y, of_transform = saved
        if isinstance(flow, Identity):
            return flow.run(y)
        links = of_transform[: len(flow.links)]
        return links[-1][1], links

    def pullback_behind(self, flow, saved, z_bar):
        """(x_bar, parameter gradients) of the links behind the flow, one of `own_flows`: the pullback up to x."""
        if isinstance(flow, Identity):
            return self.transform.pullback(saved[2], z_bar)
        return self.transform.pullback(saved[2], z_bar, first=len(flow.links))

    def flow_log_prob(self, flow, y, saved=None):
        """(log q(x), d log q/dx) at x = flow(y), for one of `own_flows`; q's parameters and the flow's are held fixed.

        saved: what flow.run(y) left, if it is at hand.

        By y, log q(x) = log N(y) - log|det J_f(y)| has the gradient -(y - mu)/sigma^2 - d log|det J_f|/dy, and
        J_f^{-T} moves it to x.
        """
        xp, _ = namespace(y)
        log_normal, y_bar = gaussian.log_prob_and_grad(self.mu, self.log_sigma, y)
        if isinstance(flow, Identity):
            return log_normal, y_bar
        saved = flow.run(y)[1] if saved is None else saved
        det_bar, _ = flow.pullback(saved, None, -xp.ones_like(log_normal))
        return log_normal - flow.saved_log_det(saved), flow.inverse_pullback(saved, y_bar + det_bar)

    def category(self, noise):
        """h(y) of eq. 20, or the transform's own limit at temperature 0, as category numbers."""
        self._require("noise", noise)
        y = gaussian.sample(self.mu, self.log_sigma, noise)
        if self.validate:
            check_no_nan("noise", y)
        return self.transform.category(y)


def igr_i(mu, log_sigma, temperature, delta=1.0, precise=True, **options):
    """IGR-I: g is softmax++ (eq. 15)."""
    return IGR(mu, log_sigma, SoftmaxPlusPlus(temperature, delta, precise), **options)


def igr_sb(mu, log_sigma, temperature, delta=1.0, remainder=False, precise=True, **options):
    """IGR-SB: g is stick-breaking followed by softmax++ (eq. 18), whose K-th category is never the largest.

    With remainder=True the outer map is the softmax of all K sticks, remainder included; it has no delta.
    """
    if remainder and delta != 1:
        raise ValueError(f"delta has no meaning with remainder=True, got {delta!r}")
    outer = Softmax(temperature, precise) if remainder else SoftmaxPlusPlus(temperature, delta, precise)
    return IGR(mu, log_sigma, Chain(StickBreaking(precise), outer), **options)


def igr_planar(mu, log_sigma, flows, temperature, delta=1.0, precise=True, **options):
    """IGR-Planar: g is a sequence of flows (two planar ones in the paper) followed by softmax++.

    Gradients of the flows' parameters are named "0.w", "0.u", "0.b", "1.w", ... The prior that goes with q = igr_planar
    is IGR(mu_0, log_sigma_0, q.transform.links[-1]): the same softmax++, no flow.
    """
    return IGR(mu, log_sigma, Chain(*flows, SoftmaxPlusPlus(temperature, delta, precise)), **options)


def log_sigma_of(sigma):
    """log_sigma for a user who holds sigma (...): ValueError unless sigma > 0."""
    xp, _ = namespace(sigma)
    if not bool(xp.all(sigma > 0)):
        raise ValueError("sigma must be greater than 0 (it is a standard deviation)")
    return xp.log(sigma)


def _check_transform(transform):
    """ValueError unless it maps R^{K-1} onto the simplex, with parameters of other names than mu and log_sigma."""
    if not isinstance(transform, Transform):
        raise ValueError(f"transform must be a Transform object (SoftmaxPlusPlus(.5), say), got {transform!r}")
    if not transform.onto_simplex or transform.takes_simplex:
        raise ValueError(
            f"transform must map R^(K-1) onto the simplex, got {type(transform).__name__}: put it into a Chain that "
            "starts in R^(K-1) and ends on the simplex"
        )
    taken = sorted({"mu", "log_sigma"} & set(transform.params))
    if taken:
        raise ValueError(f"the transform's parameters must not be named {taken}, as IGR's own are")


def _links(transform):
    return transform.links if isinstance(transform, Chain) else (transform,)
