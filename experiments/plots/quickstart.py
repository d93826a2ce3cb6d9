"""The quickstart's picture: learning curves, and what the recovered discrete models reconstruct and dream."""

from __future__ import annotations

import numpy

from igr_ref import Categorical, noise
from igr_ref.backend import to_host

from ..evaluate import recovered_log_probs
from . import style


def draw(runs, dataset, path, n_images=10):
    """`runs`: list of (config, result, program). Saves the PNG at `path`."""
    plt = style.apply()
    shown = [run for run in runs if run[0].estimator == "plain"] or runs
    figure = plt.figure(figsize=(13, 3.6), layout="constrained")
    curves, middle, right = figure.subplots(1, 3, width_ratios=(1.0, 1.15, 1.15))
    _curves(curves, runs)
    originals, examples = dataset.test[:n_images], dataset.train[:n_images]
    codes = [("test images", originals / max(1, originals.max()))]
    dreams = [("training images", examples / max(1, examples.max()))]
    for config, _, program in shown:
        codes.append((_name(config), _reconstructions(config, program, dataset, originals)))
        dreams.append((_name(config), _samples(config, program, n_images)))
    _pictures(middle, "reconstructions through the discrete code", codes, dataset.image_shape)
    _pictures(right, "samples of the discrete model", dreams, dataset.image_shape)
    return style.save(figure, path)


def _name(config):
    return config.label + (f"\nprior τ={config.prior_temperature:g}" if config.prior_temperature else "")


def _curves(axes, runs):
    for config, result, _ in runs:
        points = [(p["epoch"], p["continuous_elbo"]) for p in result["history"] if "continuous_elbo" in p]
        epoch, value = numpy.array(points).T
        axes.plot(
            epoch, value, color=style.COLOURS[config.model], linestyle=style.LINES[config.estimator],
            marker=style.MARKERS[config.model], markevery=max(1, len(epoch) // 6), markersize=4,
            label=_name(config).replace("\n", f", τ={config.temperature:g}, ") if config.prior_temperature else
            f"{config.label}, τ={config.temperature:g}",
        )  # fmt: skip
    values = [p["continuous_elbo"] for _, r, _ in runs for p in r["history"] if "continuous_elbo" in p]
    axes.set_ylim(numpy.percentile(values, 2), max(values) + 0.5)
    axes.set(xlabel="epoch", ylabel="continuous ELBO of test images (nats per image)", title="learning curves")
    axes.legend(loc="center right", handlelength=3.5)


def _pictures(axes, title, rows, shape):
    """A row of tiles for each (name, images (n, P) in [0, 1])."""
    pad, gap = 1, 2
    strips = []
    for _, images in rows:
        tiles = [numpy.pad(image.reshape(shape), pad, constant_values=numpy.nan) for image in images]
        strips.append(numpy.pad(numpy.concatenate(tiles, axis=1), ((0, gap), (0, 0)), constant_values=numpy.nan))
    axes.imshow(numpy.concatenate(strips), vmin=0, vmax=1, interpolation="nearest", aspect="equal")
    height = strips[0].shape[0]
    axes.set_yticks([height * i + (height - gap) / 2 for i in range(len(rows))], [name for name, _ in rows])
    axes.set_xticks([])
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    axes.grid(False)
    axes.set_title(title)


def _reconstructions(config, program, dataset, images):
    """E[x|b] of one code b ~ P(b|x) for each image."""
    model, params = program.model, program.params
    q = model.posterior(params, dataset.floats(images, config.dtype))
    law = Categorical(recovered_log_probs(config, q))
    u = noise.uniform(noise.generator(config.seed, "figure-codes"), law.probs.shape[:-1])
    return to_host(model.likelihood.mean(model.decode(params, law.sample(u).astype(config.dtype))))


def _samples(config, program, n):
    """E[x|b] of codes b drawn from the uniform prior."""
    model, params = program.model, program.params
    rng = noise.generator(config.seed, "figure-samples")
    index = rng.integers(config.n_categories, size=(n, config.n_variables))
    z = numpy.eye(config.n_categories, dtype=config.dtype)[index]
    return to_host(model.likelihood.mean(model.decode(params, z)))
