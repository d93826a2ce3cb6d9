"""Mutants of hand-written derivatives: a flipped sign, a factor 1.001, a dropped term, one at a time."""

from __future__ import annotations

import ast
import copy
import dataclasses
import importlib
import inspect
import pkgutil
import sys
import textwrap

import igr_ref

SUFFIXES = ("_grad", "_vjp", "_hvp", "_pullback", "_pushforward", "_gradient", "_gradients", "_and_grad")
NAMES = {
    *("vjp", "pullback", "pullback_y", "pushforward", "jacobian", "inverse_jacobian", "log_det", "fluxes"),
    *("flow_log_prob", "score", "pull"),
    # estimators: their result's gradients
    *("reparameterization", "sticking_the_landing", "straight_through", "score_function", "controlled", "from_set"),
    *("_igr", "_flow", "_gumbel_softmax", "elbo", "elbo_sl"),
}


def derivatives():
    """[(module, qualified name, function)] of every derivative in igr_ref, found by name."""
    found = []
    for info in pkgutil.walk_packages(igr_ref.__path__, "igr_ref."):
        module = importlib.import_module(info.name)
        owners = [("", vars(module))]
        owners += [
            (f"{name}.", vars(item))
            for name, item in vars(module).items()
            if inspect.isclass(item) and item.__module__ == module.__name__
        ]
        for prefix, members in owners:
            for name, item in list(members.items()):
                ours = inspect.isfunction(item) and item.__module__ == module.__name__
                if ours and (name in NAMES or name.endswith(SUFFIXES)) and not _is_trivial(item):
                    found.append((module, prefix + name, item))
    return found


def _tree(function):
    return ast.parse(textwrap.dedent(inspect.getsource(function)))


def _is_trivial(function):
    """No arithmetic of its own: a body that raises, or only hands on to another function."""
    nodes = list(ast.walk(_tree(function)))
    raises = any(isinstance(node, ast.Raise) for node in nodes[:6])
    return raises or not any(isinstance(node, (ast.BinOp, ast.UnaryOp)) for node in nodes)


def _is_array_arithmetic(node):
    """Leaves out integers in shapes and subscripts, where a mutant is a crash and not a wrong derivative."""
    return isinstance(node, ast.BinOp) and isinstance(node.op, (ast.Add, ast.Sub))


def mutants(function):
    """(description, mutated function) for every mutant of `function`."""
    tree = _tree(function)
    for parent in ast.walk(tree):  # subscripts, shapes and keyword arguments are not formulas
        shape = isinstance(parent, ast.Call) and getattr(parent.func, "attr", "") in ("reshape", "arange")
        shape = shape or isinstance(parent, ast.keyword) or getattr(parent, "in_index", False)
        for child in ast.iter_child_nodes(parent):
            child.in_index = shape or (isinstance(parent, ast.Subscript) and child is parent.slice)
    for index, node in enumerate(ast.walk(tree)):
        if isinstance(node, ast.Return) and node.value is not None:
            for change in ("-1.0", "1.001"):
                for position in range(len(node.value.elts) if isinstance(node.value, ast.Tuple) else 1):
                    new = copy.deepcopy(tree)
                    target = list(ast.walk(new))[index]
                    if isinstance(target.value, ast.Tuple):
                        target.value.elts[position] = _scaled(target.value.elts[position], change)
                    else:
                        target.value = _scaled(target.value, change)
                    yield f"line {node.lineno}: result {position} times {change}", _compiled(new, function)
        elif _is_array_arithmetic(node) and not getattr(node, "in_index", False):
            new = copy.deepcopy(tree)
            target = list(ast.walk(new))[index]
            zero = ast.BinOp(target.right, ast.Mult(), ast.Constant(0))
            target.right = zero
            yield f"line {node.lineno}: dropped {ast.unparse(node.right)}", _compiled(new, function)


def _scaled(expression, factor):
    """mutation_scale(expression, factor): works on arrays, tuples, dicts of arrays, and leaves None alone."""
    call = ast.Call(ast.Name("__mutation_scale__", ast.Load()), [expression, ast.parse(factor, mode="eval").body], [])
    return call


def scale(value, factor):
    if value is None:
        return None
    if isinstance(value, dict):
        return {name: scale(item, factor) for name, item in value.items()}
    if dataclasses.is_dataclass(value):  # an Estimate: its gradients
        return dataclasses.replace(value, grads=scale(value.grads, factor))
    if isinstance(value, (tuple, list)):
        return type(value)(scale(item, factor) for item in value)
    return value * factor


def _compiled(tree, original):
    """The mutated source as a function with the original's globals (and class cell, defaults kept by re-evaluation)."""
    definition = tree.body[0]
    definition.decorator_list = []
    ast.fix_missing_locations(tree)
    scope = dict(original.__globals__)
    scope["__mutation_scale__"] = scale
    exec(compile(tree, inspect.getsourcefile(original), "exec"), scope)
    return scope[definition.name]


def plant(module, qualified, original, mutant):
    """Put the mutant in the original's place everywhere in igr_ref; returns nothing: do it in a forked child."""
    # the mutant's globals are a copy, so functions it calls are the originals: only this one derivative changes
    if "." in qualified:
        owner, name = qualified.split(".")
        setattr(getattr(module, owner), name, mutant)
        return
    for other in list(sys.modules.values()):
        if getattr(other, "__name__", "").startswith(("igr_ref", "experiments", "tests")):
            for name, value in list(vars(other).items()):
                if value is original:
                    setattr(other, name, mutant)
