"""Printed and probed values as data, transcribed once; `report` sets ours beside them."""

# Probes made while auditing the paper's code: not published. MNIST, linear, plain, lr 1e-3, 10 epochs, one seed, first
# 100 (IGR-I) or 200 (GS) test images, m = 1000. Keys: model, temperature, prior temperature (None: IGR's shared g).
PROBES = {
    key: {"discrete_elbo": elbo, "loglik": bound, "as_published": published}
    for key, (elbo, bound, published) in {
        ("gs", 0.67, 0.67): (-159.3, -126.9, -125.2),
        ("gs", 0.67, 0.5): (-146.5, -111.5, -109.1),
        ("gs", 1.0, 0.5): (-147.0, -104.2, -103.2),
        ("gs", 0.85, 0.5): (-145.1, -105.5, -103.7),
        ("gs", 0.25, 0.25): (-154.2, -132.7, -130.6),
        ("gs", 0.5, 0.5): (-155.5, -127.0, -124.8),
        ("gs", 1.0, 1.0): (-173.9, -130.2, -129.6),
        ("igr_i", 0.15, None): (-132.2, -104.2, -99.4),
        ("igr_i", 0.67, None): (-179.8, -108.2, -105.8),
    }.items()
}
