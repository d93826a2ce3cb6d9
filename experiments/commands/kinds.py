"""What `train` trains: the config of each kind of run, and a flag for each of its fields."""

from __future__ import annotations

import argparse
import dataclasses

from .. import data, plan
from ..plan_mixture import MIXTURE_ESTIMATORS, MIXTURES
from ..plan_sop import SOP_ARCHITECTURES, SOP_MODELS

FIELD_HELP = {
    "dataset": f"{', '.join(data.NAMES)}, or the path of an .npz with arrays train and test",
    "model": ", ".join(plan.MODELS),
    "estimator": "plain (reparameterization), sl (sticking the landing), relax or uspgbl",
    "architecture": ", ".join(plan.ARCHITECTURES),
    "prior_temperature": "gs only: the prior's own temperature, None for that of the posterior",
    "m": "importance samples of the log-likelihood bound",
    "law_draws": "draws of a simulated discrete law (igr_planar; igr_sb with --law simulated)",
    "law": "the discrete law that is scored: exact, or simulated (igr_sb)",
    "relax_temperature": "where RELAX's temperature starts (default: 5 for gs, .15 for IGR)",
    "training_images": "how many training images the discretised training ELBO is taken over (Table 4)",
    "dtype": "float32 or float64",
    "monitor_every": "epochs between points of the learning curve, 0 for none",
    "n_variables": "variables of the code",
    "n_categories": "categories of each variable",
    "n_samples": "relaxed samples an image and step",
    "scored_images": "score only the first so many test or held-out images, None for all",
    "delta": "softmax++'s constant (eq. 15)",
    "validation": "hold out and score the validation images, not the test images",
    "relax_coupled": "RELAX: couple the sample given b to the free one, which is as unbiased, and cheaper",
}
KINDS = {  # what `train` trains: the config, what it is, and help where it is not as above
    "vae": (plan.RunConfig, "a VAE (Tables 1, 4-6)", {}),
    "sop": (plan.SOPConfig, "structured output prediction (Table 2)", {
        "dataset": f"{FIELD_HELP['dataset']}; of binary pixels",
        "model": ", ".join(SOP_MODELS),
        "architecture": ", ".join(SOP_ARCHITECTURES),
        "n_units": "binary units in each of the two layers",
        "delta": "igr_i only: softmax++'s constant (eq. 15)",
        "learning_rate": "of step 0; of step t: this/(1 + decay t)",
        "least_learning_rate": "what the learning rate never falls below",
        "decay": "how fast the learning rate falls",
        "m": "samples of the bound on log p(lower half | upper half)",
    }),
    "mixture": (plan.MixtureConfig, "a nonparametric mixture (Table 3)", {
        "model": ", ".join(MIXTURES),
        "estimator": "plain, sl (both with closed KLs), or as_published (the official code's loss)",
        "n_components": "K, one more than there are sticks",
        "n_latent": "dimensions of each component",
        "width": "of the hidden layers",
        "rho": "igr_sb_mm only: the share of the whole that the components training keeps must hold (eq. 19)",
        "percentile": "igr_sb_mm only: which percentile, over a batch, of the number of components that hold it",
    }),
}  # fmt: skip
MODELS = {"vae": plan.MODELS, "sop": SOP_MODELS, "mixture": MIXTURES}
ESTIMATORS = {"vae": plan.ESTIMATORS, "mixture": MIXTURE_ESTIMATORS}


def _or_none(kind):
    """The type of a flag that may be None, too."""

    def parse(text):
        return None if text == "None" else kind(text)

    parse.__name__ = kind.__name__  # what argparse says that it wanted
    return parse


TYPES = {"str": str, "int": int, "float": float, "float | None": _or_none(float), "int | None": _or_none(int)}


def kind_in(argv):
    """What `train --kind` says, as the flags of `train` depend on it; "vae" where it says nothing or nonsense."""
    look = argparse.ArgumentParser(add_help=False)
    look.add_argument("--kind", nargs="?")
    kind = look.parse_known_args(argv)[0].kind if argv[:1] == ["train"] else "vae"
    return kind if kind in KINDS else "vae"


def add_fields(sub, kind):
    """A flag for each field of the kind's config."""
    config, _, texts = KINDS[kind]
    texts = FIELD_HELP | texts
    for field in dataclasses.fields(config):
        flag = _flag(field)
        text = texts.get(field.name, field.name.replace("_", " "))
        if field.type == "bool":
            sub.add_argument(flag, action="store_true", help=text)
        else:
            sub.add_argument(
                flag, type=TYPES[field.type], default=field.default, help=f"{text} (default {field.default})"
            )


def unused(config):
    """A sentence for each flag that was given, changes the run's id, and nothing else."""
    model, estimator = getattr(config, "model", None), getattr(config, "estimator", None)
    simulated = model == "igr_planar" or (model == "igr_sb" and getattr(config, "law", None) == "simulated")
    has_delta = ("igr_i",) if config.kind == "sop" else ("igr_i", "igr_planar", "igr_sb")
    idle = {
        "delta": model not in has_delta and "it is softmax++'s, which this model has not",
        "relax_temperature": estimator != "relax" and "it is RELAX's",
        "relax_coupled": estimator != "relax" and "it is RELAX's",
        "law": model != "igr_sb" and "only igr_sb has a choice",
        "law_draws": not simulated and "no law is simulated",
        "training_images": getattr(config, "validation", False) and "held-out runs do not score training images",
        "prior_temperature": estimator in plan.DISCRETE and "the prior of a discrete objective is uniform",
        "rho": model != "igr_sb_mm" and "it is igr_sb_mm's",
        "percentile": model != "igr_sb_mm" and "it is igr_sb_mm's",
    }
    for field in dataclasses.fields(config):
        if idle.get(field.name) and getattr(config, field.name) != field.default:
            yield f"{_flag(field)} has no effect on this run but its id: {idle[field.name]}"


def _flag(field):
    return "--" + field.name.replace("_", "-")


def flags_elsewhere(unknown, kind):
    """A clause for each unknown flag that another kind of run has."""
    for flag in unknown:
        name = flag.split("=")[0]
        have = [k for k, (config, *_) in KINDS.items() if name in map(_flag, dataclasses.fields(config))]
        if have:
            yield f"; {name} is a flag of --kind {' and '.join(have)}, not of {kind}"
