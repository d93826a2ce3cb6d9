"""Mutants of hand-written derivatives: one change at a time to a result, a cotangent on the way to it, or a term.

Results and cotangents (what is returned, entry by entry; what is put into a dict of gradients; local names such as
`mu_bar`, `y_dot`, `slope`): times -1, times 1.001. Terms (either side of every sum or difference): dropped, and times
1.001; the sign of the right one turned. Minus signs in front of a factor: taken away.
`mutation_run` plants them and runs tests on them.
"""

from __future__ import annotations

import ast
import copy
import dataclasses
import importlib
import inspect
import pkgutil
import re
import sys
import textwrap
import types
from collections import Counter

import igr_ref

# Which functions are derivatives: by name everywhere, then one by one.
PATTERN = re.compile(
    r"(^|_)(vjp|grads?|hvp|pull|pullback|pushforward|jacobian|tangent|gradients?|fluxes|log_det|bars?)(_|$)"
)
MORE = {
    "prior": ["_moments", "_as_printed", "_kl_as_published"],
    "transforms.planar_flow": ["PlanarFlow.__init__", "PlanarFlow.run", "PlanarFlow._outer"],
    "transforms.planar_flows": ["PlanarFlows.__init__", "PlanarFlows.run", "_plus"],
    "transforms.stick_breaking": ["_sum_after", "_sticks_left"],
    "recovery._far_tails": ["given", "_derivatives"],
    "transforms.base": ["add_term"],
    "distributions.igr": ["IGR.flow_log_prob"],
    "estimators._pairs": ["GumbelPair.coordinates", "GaussianPair.coordinates"],
    "estimators.base": ["add_grads"],
    "estimators.control_variates": ["evaluate", "_active"],
    "estimators.rebar": ["rebar", "controlled", "_square_sum"],
    "estimators.relax": ["relax", "bounded_parameters"],
    "estimators.relax_as_published": ["relax_igr_as_published_invalid", "relax_gumbel_as_published_invalid"],
    "estimators.reparameterization": ["reparameterization", "_flow"],
    "estimators.score_function": [
        "drawn_codes",
        "uniform_term",
        "score_function",
        "_centred",
        "score",
        "kl_uniform",
        "kl_term",
        "_over_p",
    ],
    "estimators.sticking_the_landing": ["sticking_the_landing", "_igr", "_flow", "_gumbel_softmax"],
    "estimators.straight_through": ["straight_through"],
    "estimators.unordered_set": ["unordered_set", "from_set"],
    "models.mixture": ["MixtureVAE._decode"],
    "models.mixture_as_published": ["objective_as_published"],
    "models.mixture_objective": ["elbo", "elbo_sl"],
    "models.reconstruction": ["Reconstruction.__call__", "Reconstruction.without_gradient"],
    "models.vae": ["VAE.reconstruction"],
    "recovery._chebyshev": ["table", "Stencil.scatter"],
    "recovery._panels": ["log_w", "integrals"],
    "recovery._rare": ["_f"],
    "recovery._winner": ["_derivatives", "_scores"],
    "recovery._factors": ["Factors.sums"],
    "recovery._drawn": ["Winner.integrals", "_newton"],
    "recovery.drawn": ["_scores"],
    "recovery.drawn_single": ["_boundary", "_by_rule", "_scores"],
    "recovery._single_integrals": ["integrals", "_nodes", "_by_parameters", "_density"],
    "recovery.gaussian_argmax": ["boundary", "with_boundary"],
    "recovery.conditional": ["_saved", "_quantiles_below", "coupled_below"],
    "recovery.conditional_gumbel": ["sample", "coupled"],
}
# Not among them: the slopes of Newton's iterations (planar_flow.solve, _panels._mode, _winner._solve, ndtri_exp), which
# set the number of steps and not the result, and sums over samples that are handed to an optimiser (prior.fit).
COTANGENT = re.compile(r"^by_|(^|_)(bars?|dot|grads?|slopes?|scores?|ratio|along|fall|lam|kappa|parts)$")
INTEGERS = {
    *("reshape", "arange", "range", "swapaxes", "moveaxis", "flip", "zeros", "ones", "full", "eye", "concatenate"),
    *(
        "broadcast_to",
        "broadcast_shapes",
        "take",
        "len",
        "int",
        "max",
        "min",
        "nodes",
        "bincount",
        "namespace",
        "_pad",
        "slice",
    ),
}


def derivatives():
    """[(module below igr_ref, qualified name, function)] of every derivative in igr_ref."""
    found = []
    for info in pkgutil.walk_packages(igr_ref.__path__, "igr_ref."):
        module, short = importlib.import_module(info.name), info.name[8:]
        owners = [("", vars(module))]
        owners += [
            (f"{name}.", vars(item))
            for name, item in vars(module).items()
            if inspect.isclass(item) and item.__module__ == module.__name__
        ]
        for prefix, members in owners:
            for name, item in list(members.items()):
                function = _function(item)
                if function is None or function.__module__ != module.__name__ or function.__name__ != name:
                    continue
                wanted = prefix + name in MORE.get(short, ()) or PATTERN.search(name)
                if wanted and not _only_raises(function):
                    found.append((short, prefix + name, function))
    return found


def _function(item):
    """The plain function in a static method, a cached function or itself; None for anything else."""
    item = getattr(item, "__func__", item)
    item = getattr(item, "__wrapped__", item)
    return item if inspect.isfunction(item) else None


def _tree(function):
    return ast.parse(textwrap.dedent(inspect.getsource(function)))


def _only_raises(function):
    return isinstance(_tree(function).body[0].body[-1], ast.Raise)


# ---- where to change what ----------------------------------------------------------------------------------------


def mutants(function):
    """[(description, code)]: `plant` puts the code in the function's place."""
    tree = _tree(function)
    _mark(tree)
    out = []
    for index, node in enumerate(ast.walk(tree)):
        if node.integers:
            continue
        for what, change in _changes(node):
            new = copy.deepcopy(tree)
            change(list(ast.walk(new))[index])
            out.append((f"line {node.lineno}: {what}", _compiled(new, function)))
    seen = Counter()
    for i, (name, code) in enumerate(out):
        seen[name] += 1
        out[i] = (name if seen[name] == 1 else f"{name} ({seen[name]})", code)
    return out


def _mark(tree):
    """node.integers: conditions, subscripts, shapes, options and messages, which are not formulas."""
    tree.integers = False
    inner = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
    for parent in ast.walk(tree):
        called = parent.func if isinstance(parent, ast.Call) else None
        shapes = getattr(called, "attr", getattr(called, "id", "")) in INTEGERS
        skip = parent.integers or isinstance(
            parent, (ast.keyword, ast.Compare, ast.Raise, ast.JoinedStr, ast.arguments)
        )
        tested = getattr(parent, "test", None)
        for child in ast.iter_child_nodes(parent):
            child.integers = skip or (isinstance(parent, ast.Subscript) and child is parent.slice) or child is tested
            # arrays to be joined are formulas, numbers are not
            child.integers = child.integers or (shapes and not isinstance(child, (ast.List, ast.Call, ast.Attribute)))
            # what an object keeps besides, and a sign that the result's own change of sign covers
            kept = isinstance(parent, ast.Assign) and isinstance(parent.targets[0], ast.Attribute)
            child.integers = child.integers or (kept and isinstance(child, ast.Dict))
            child.function = isinstance(child, ast.Name) and child.id in inner
            child.outermost = isinstance(parent, (ast.Return, ast.Dict, ast.DictComp))


def _changes(node):
    """(description, function that makes the change in a copy of the node)."""
    if isinstance(node, (ast.Return, ast.Assign)) and node.value is not None:
        named = isinstance(node, ast.Return) or all(_is_cotangent(target) for target in node.targets)
        if named:
            yield from _scalings(node.value, (("value",),))
    elif isinstance(node, ast.Dict):
        for i, value in enumerate(node.values):
            yield from _scalings(value, (("values", i),))
    elif isinstance(node, ast.DictComp):
        yield from _scalings(node.value, (("value",),))
    elif isinstance(node, ast.BinOp) and isinstance(node.op, (ast.Add, ast.Sub)):
        sides = ["right"] if _is_sum(node.left) else ["left", "right"]
        if _is_count(node.left) or _is_zero(node.left) or _is_zero(node.right):
            return
        for side in sides:
            term = ast.unparse(getattr(node, side))
            for what, factor in (("dropped", "0"), ("1.001 times", "1.001")):
                yield f"{what} {side} {term}", lambda new, side=side, factor=factor: _multiply(new, side, factor)
        yield f"turned the sign of {ast.unparse(node.right)}", _turn
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub) and not node.outermost:
        yield f"took the minus from {ast.unparse(node)}", _twice
    elif isinstance(node, ast.Call) and getattr(node.func, "id", "") in ("add_grads", "add_term"):
        for i in range(len(node.args)):
            yield f"dropped argument {i} of {ast.unparse(node)}", lambda new, i=i: _scale_at(new, ("args", i), "0.0")


def _is_cotangent(target):
    if isinstance(target, ast.Tuple):
        return all(_is_cotangent(item) for item in target.elts)
    name = target.id if isinstance(target, ast.Name) else ""
    return isinstance(target, ast.Subscript) or bool(COTANGENT.search(name))


def _is_sum(node):
    return isinstance(node, ast.BinOp) and isinstance(node.op, (ast.Add, ast.Sub))


def _is_count(node):
    return isinstance(node, ast.Attribute) and node.attr == "ndim"


def _is_zero(node):
    """0 * x and zeros_like(x), written for their shape."""
    node = node.value if isinstance(node, ast.Subscript) else node
    if isinstance(node, ast.Call):
        return getattr(node.func, "attr", "").startswith("zeros")
    return isinstance(node, ast.BinOp) and isinstance(node.left, ast.Constant) and node.left.value == 0


def _scalings(value, path):
    """Changes of each entry of a result: of a tuple, of a dict, or of a record made on the spot."""
    kids = []
    if isinstance(value, ast.Tuple):
        kids = [(item, (*path, ("elts", i))) for i, item in enumerate(value.elts)]
    elif isinstance(value, ast.Dict):
        return  # visited by itself
    elif isinstance(value, ast.Call) and getattr(value.func, "attr", "") in ("concatenate", "stack"):
        if isinstance(value.args[0], ast.List) and len(value.args[0].elts) > 1:
            kids = [(item, (*path, ("args", 0), ("elts", i))) for i, item in enumerate(value.args[0].elts)]
    elif isinstance(value, ast.Call) and getattr(value.func, "id", "")[:1].isupper():
        kids = [(item, (*path, ("args", i))) for i, item in enumerate(value.args) if _is_gradient(item)]
    elif isinstance(value, (ast.DictComp, ast.Lambda, ast.Constant, ast.List)) or _is_empty(value):
        return
    if not kids:
        for what, factor in (("turned the sign of", "-1.0"), ("1.001 times", "1.001")):
            entry = "".join(f"{step[-1]} " for step in path if len(step) > 1)
            yield f"result {entry}{what} {ast.unparse(value)}", lambda new, by=factor: _scale_along(new, path, by)
    for item, where in kids:
        yield from _scalings(item, where)


def _is_gradient(node):
    """Arguments of a record that are gradients: calls, and names such as grads, y_bar, g."""
    return isinstance(node, ast.Call) or (isinstance(node, ast.Name) and (COTANGENT.search(node.id) or node.id in "gs"))


def _is_empty(node):
    """zeros, which no factor changes; functions; a quadrature's error, and an estimator's result handed on."""
    if isinstance(node, ast.Name):
        return node.function or node.id in ("unresolved", "estimate")
    return isinstance(node, ast.Call) and getattr(node.func, "attr", "").startswith(("zeros", "namespace"))


def _scale_along(new, path, factor):
    for step in path[:-1]:
        new = getattr(new, step[0]) if len(step) == 1 else getattr(new, step[0])[step[1]]
    _scale_at(new, path[-1], factor)


def _scale_at(new, step, factor):
    old = getattr(new, step[0]) if len(step) == 1 else getattr(new, step[0])[step[1]]
    call = ast.Call(ast.Name("_mutation_scale", ast.Load()), [old, ast.parse(factor, mode="eval").body], [])
    if len(step) == 1:
        setattr(new, step[0], call)
    else:
        getattr(new, step[0])[step[1]] = call


def _multiply(new, side, factor):
    setattr(new, side, ast.BinOp(ast.parse(factor, mode="eval").body, ast.Mult(), getattr(new, side)))


def _turn(new):
    new.op = ast.Add() if isinstance(new.op, ast.Sub) else ast.Sub()


def _twice(new):  # not +x, which some array types lack
    new.operand = ast.UnaryOp(ast.USub(), new.operand)


def scale(value, factor):
    """value times factor, inside dicts, tuples and records too; None stays None, and so do numbers of samples."""
    if value is None or callable(value):
        return value
    if isinstance(value, dict):
        return {name: scale(item, factor) for name, item in value.items()}
    if dataclasses.is_dataclass(value):
        fields = [f.name for f in dataclasses.fields(value) if f.name in ("grads", "slopes", "y_bar", "z_bar")]
        return dataclasses.replace(value, **{name: scale(getattr(value, name), factor) for name in fields})
    if isinstance(value, types.GeneratorType):
        return (scale(item, factor) for item in value)
    if isinstance(value, (tuple, list)):
        return type(value)(scale(item, factor) for item in value)
    if getattr(getattr(value, "dtype", None), "kind", "f") in "biu":
        return value
    return value * factor


# ---- planting ----------------------------------------------------------------------------------------------------


def _compiled(tree, original):
    """The code object of the mutated definition, with the original's free variables (`__class__`, for super())."""
    definition = tree.body[0]
    definition.decorator_list = []
    names = original.__code__.co_freevars
    outer = ast.parse(f"def outer({', '.join(names)}): pass")
    outer.body[0].body = [definition]
    ast.fix_missing_locations(outer)
    code = compile(outer, inspect.getsourcefile(original), "exec", dont_inherit=True)
    for name in ("outer", definition.name):
        code = next(c for c in code.co_consts if isinstance(c, types.CodeType) and c.co_name == name)
    return code


def plant(function, code):
    """Change the function itself: whoever holds it (a from-import, a dict, a parametrization) then has the mutant."""
    function.__globals__["_mutation_scale"] = scale
    function.__code__ = code
    for name, module in list(sys.modules.items()):
        for item in list(vars(module).values()) if name.startswith("igr_ref") else ():
            if hasattr(item, "cache_clear"):  # results kept from before
                item.cache_clear()
