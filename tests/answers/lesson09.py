"Answers to the exercises of lesson 09, written from their text alone: right ones to be accepted, wrong ones with words that the message must hold."
import copy, functools

import torch
from torch import nn

# ---------------------------------------------------------------- overhear


def overhear_with_hooks(model, x, layers):
    modules, layers = dict(model.named_modules()), list(layers)
    for name in layers:
        if name not in modules: raise ValueError(f"no module {name!r}")
    heard, modes = {}, [(m, m.training) for m in model.modules()]
    def listen(name, module, args, out): heard[name] = out.detach().clone()
    handles = [modules[name].register_forward_hook(functools.partial(listen, name)) for name in layers]
    try:
        model.eval()
        with torch.no_grad(): model(x)
    finally:
        for h in handles: h.remove()
        for m, mode in modes: m.training = mode
    return heard


def overhear_in_a_copy(model, x, layers):
    "A copy of the whole network is disturbed, and thrown away"
    twin, heard = copy.deepcopy(model).eval(), {}
    for name in layers:
        try: part = twin.get_submodule(name)
        except AttributeError: raise ValueError(f"{name} is not a module of this network") from None
        part.register_forward_hook(lambda m, i, o, name=name: heard.update({name: o.detach().clone()}))
    with torch.no_grad(): twin(x)
    return heard


def overhear_by_wrapping(model, x, layers):
    "The modules' `forward` is wrapped for one pass; inference mode; nested try"
    modules, out, modes, wrapped = dict(model.named_modules()), {}, {m: m.training for m in model.modules()}, []
    wanted = [*layers]
    if missing := [n for n in wanted if n not in modules]: raise ValueError("unknown: " + ", ".join(missing))
    def wrap(name, forward):
        def answer(*args, **kwargs):
            value = forward(*args, **kwargs)
            out[name] = value.detach().clone()
            return value
        return answer
    try:
        for n in wanted: modules[n].forward = wrap(n, modules[n].forward); wrapped.append(modules[n])
        for m in modules.values(): m.training = False
        with torch.no_grad(): model(x)
    finally:
        for m in wrapped: del m.forward
        for m, mode in modes.items(): m.training = mode
    return out


def overheard(keep=lambda o: o.detach().clone(), before=lambda model: model.eval(), after=lambda model, modes: [setattr(m, "training", t) for m, t in modes],
              remove=True, guard=True, passes=1, unknown=ValueError, say=True, names=True, what=lambda i, o: o, grad=False, key=lambda n, m: n):
    "The function with one thing done otherwise"
    def answer(model, x, layers):
        modules, layers = dict(model.named_modules()), list(layers)
        if names:
            for n in layers:
                if n not in modules: raise unknown(f"no module {n}" if say else "no such module")
        heard, handles, modes = {}, [], [(m, m.training) for m in model.modules()]
        for n in layers: handles.append(modules[n].register_forward_hook(lambda m, i, o, n=n: heard.update({key(n, m): keep(what(i, o))})))
        def tidy():
            if remove: [h.remove() for h in handles]
            after(model, modes)
        def run():
            before(model)
            with torch.set_grad_enabled(grad):
                for _ in range(passes): model(x)
        if guard:
            try: run()
            finally: tidy()
        else: run(); tidy()
        return heard
    return answer


def checked_afterwards(model, x, layers):
    layers = list(layers)
    heard = overhear_with_hooks(model, x, [n for n in layers if n in dict(model.named_modules())])
    for n in layers:
        if n not in heard: raise ValueError(n)
    return heard


def error_swallowed(model, x, layers):
    try: return overhear_with_hooks(model, x, layers)
    except RuntimeError: return {}


def error_translated(model, x, layers):
    try: return overhear_with_hooks(model, x, layers)
    except RuntimeError as e: raise ValueError("the pass failed") from e


def everything_heard(model, x, layers):
    overhear_with_hooks(model, x, layers)
    return overhear_with_hooks(model, x, [n for n, _ in model.named_modules()])


def a_pass_per_layer(model, x, layers):
    return {k: v for n in layers for k, v in overhear_with_hooks(model, x, [n]).items()}


def others_hooks_cleared(model, x, layers):
    try: return overhear_with_hooks(model, x, layers)
    finally:
        for m in model.modules(): m._forward_hooks.clear()


def after_backward(o):
    o.sum().backward(retain_graph=True)
    return o.detach().clone()


def all_train(model, modes): model.train()
def as_the_top(model, modes): model.train(modes[0][1])
def nothing(*args): pass


OVERHEAR = dict(
    right={"hooks": overhear_with_hooks, "in a copy": overhear_in_a_copy, "forward wrapped": overhear_by_wrapping, "graph cut at the end": overheard(keep=lambda o: o.clone().detach(), grad=True)},
    wrong={"not copied": (overheard(keep=lambda o: o.detach()), "overwritten"),
           "not detached": (overheard(keep=lambda o: o.clone(), grad=True), "graph"),
           "neither": (overheard(keep=lambda o: o, grad=True), "graph"),
           "mode not changed": (overheard(before=nothing), "eval()"),
           "in training mode": (overheard(before=lambda m: m.train()), "eval()"),
           "all in training mode afterwards": (overheard(after=all_train), "mode"),
           "all as the top was": (overheard(after=as_the_top), "mode"),
           "left in evaluation mode": (overheard(after=nothing), "mode"),
           "hooks left": (overheard(remove=False), "hook"),
           "nothing put back on an error": (overheard(guard=False), "error"),
           "KeyError for a name": (overheard(names=False), "ValueError"),
           "another error for a name": (overheard(unknown=AttributeError), "ValueError"),
           "the name not said": (overheard(say=False), "name"),
           "names checked afterwards": (checked_afterwards, "before"),
           "the error swallowed": (error_swallowed, "error"),
           "the error translated": (error_translated, "error"),
           "everything in the dict": (everything_heard, "dict"),
           "a pass per layer": (a_pass_per_layer, "passes were made"),
           "two passes": (overheard(passes=2), "passes were made"),
           "what the layer was given": (overheard(what=lambda i, o: i[0]), "given"),
           "keys are modules": (overheard(key=lambda n, m: m), "name"),
           "a list": (lambda m, x, n: list(overhear_with_hooks(m, x, n).values()), "dict"),
           "NumPy arrays": (overheard(keep=lambda o: o.numpy().copy()), "tensor"),
           "only the first picture": (overheard(keep=lambda o: o[0].clone()), "shape"),
           "hooks of others cleared": (others_hooks_cleared, "hook"),
           "gradients stored": (overheard(keep=after_backward, grad=True), "gradient")})

# ---------------------------------------------------------------- receptive_field


def field_two_lines_swapped(layers):
    field, jump = 1, 1
    for kernel, stride in layers:
        field += (kernel - 1) * jump
        jump *= stride
    return field


def field_from_the_last(layers):
    return functools.reduce(lambda r, layer: (r - 1) * layer[1] + layer[0], reversed(layers), 1)


def field_by_marking(layers):
    "Which inputs does output 0 read?"
    seen = {0}
    for k, s in layers[::-1]: seen = {s * i + j for i in seen for j in range(k)}
    return len(seen)


def field_as_given(layers):
    field, jump = 1, 1
    for kernel, stride in layers:
        jump *= stride
        field += (kernel - 1) * jump
    return field


def field_variant(start=1, grow=lambda k, s, jump: (k - 1) * jump, step=lambda jump, k, s: jump * s, order=lambda layers: layers, end=lambda f: f):
    def answer(layers):
        field, jump = start, 1
        for k, s in order(layers): field, jump = field + grow(k, s, jump), step(jump, k, s)
        return end(field)
    return answer


def list_turned(layers):
    layers.reverse()
    field = 1
    for k, s in layers: field = (field - 1) * s + k
    return field


def first_layer_taken(layers):
    if not layers: raise ValueError("no layers")
    return field_two_lines_swapped(layers)


RECEPTIVE_FIELD = dict(
    right={"two lines swapped": field_two_lines_swapped, "from the last layer": field_from_the_last, "by marking": field_by_marking},
    wrong={"as given": (field_as_given, "own"),
           "strides ignored": (field_variant(step=lambda jump, k, s: 1), "stride"),
           "only the stride before": (field_variant(step=lambda jump, k, s: s), "multiply"),
           "strides added": (field_variant(step=lambda jump, k, s: jump + s), "should be 5"),
           "the whole kernel": (field_variant(grow=lambda k, s, jump: k * jump), "should be 5"),
           "from zero": (field_variant(start=0), "should be 5"),
           "the last layer first": (field_variant(order=lambda layers: layers[::-1]), "first"),
           "kernel and stride taken for each other": (field_variant(grow=lambda k, s, jump: (s - 1) * jump, step=lambda jump, k, s: jump * k), "should be 5"),
           "a float": (field_variant(end=float), "whole number"),
           "3x3 only": (field_variant(grow=lambda k, s, jump: 2 * jump), "receptive field should be"),
           "list turned in place": (list_turned, "in place"),
           "none without layers": (first_layer_taken, "no layers"),
           "size of the whole map": (field_variant(end=lambda f: f * f), "should be 5"),
           "the number itself": (7, "function")})

# ---------------------------------------------------------------- dead_channels


def dead_by_maxima(model, layer, batches):
    top, modes = [], [(m, m.training) for m in model.modules()]
    handle = model.get_submodule(layer).register_forward_hook(lambda m, i, o: top.append(o.amax((0, 2, 3))))
    model.eval()
    try:
        with torch.no_grad():
            for x in batches: model(x)
    finally:
        handle.remove()
        for m, mode in modes: m.training = mode
    return [k for k, v in enumerate(torch.stack(top).amax(0).tolist()) if v <= 0]


def dead_by_any(model, layer, batches):
    "Copies kept; a channel is alive where any value is above 0; in a copy of the network"
    twin, heard = copy.deepcopy(model).eval(), []
    twin.get_submodule(layer).register_forward_hook(lambda m, i, o: heard.append(o.detach().clone()))
    for x in batches: twin(x)
    alive = torch.stack([(h > 0).any(dim=3).any(dim=2).any(dim=0) for h in heard]).any(0)
    return (~alive).nonzero().flatten().tolist()


def dead_by_sets(model, layer, batches):
    before = {name: m.training for name, m in model.named_modules()}
    dead = None
    def hook(m, args, out):
        nonlocal dead
        now = {k for k in range(out.size(1)) if not (out[:, k] > 0).any()}
        dead = now if dead is None else dead & now
    handle = dict(model.named_modules())[layer].register_forward_hook(hook)
    try:
        model.train(False)
        with torch.inference_mode(): [model(x) for x in batches]
    finally:
        handle.remove()
        for name, m in model.named_modules(): m.training = before[name]
    return sorted(dead)


def counted(keep=lambda o: o.clone(), mode=lambda m: m.eval(), after=lambda model, modes: [setattr(m, "training", t) for m, t in modes], remove=True,
            silent=lambda v: (v <= 0).all(), which=lambda heard: heard, end=lambda dead: dead):
    def answer(model, layer, batches):
        heard, modes = [], [(m, m.training) for m in model.modules()]
        handle = model.get_submodule(layer).register_forward_hook(lambda m, i, o: heard.append(keep(o)))
        mode(model)
        with torch.no_grad():
            for x in batches: model(x)
        if remove: handle.remove()
        after(model, modes)
        chosen = which(heard)
        return end([k for k in range(chosen[0].shape[1]) if all(silent(h[:, k]) for h in chosen)])
    return answer


def dead_as_given(model, layer, batches):
    heard = []
    module = model.get_submodule(layer)
    module.register_forward_hook(lambda m, args, out: heard.append(out))
    model.train()
    with torch.no_grad():
        for x in batches: model(x)
    last = heard[-1]
    return [k for k in range(last.shape[1]) if (last[:, k] == 0).all()]


def batches_joined(model, layer, batches): return dead_by_maxima(model, layer, [torch.cat(batches)])


def dead_in_any_batch(model, layer, batches):
    return sorted({k for x in batches for k in dead_by_maxima(model, layer, [x])})


def mask(model, layer, batches):
    heard = []
    handle = model.get_submodule(layer).register_forward_hook(lambda m, i, o: heard.append(o.amax((0, 2, 3)) <= 0))
    modes = [(m, m.training) for m in model.modules()]
    model.eval()
    for x in batches: model(x)
    handle.remove()
    for m, t in modes: m.training = t
    return torch.stack(heard).all(0).tolist()


def living(model, layer, batches):
    heard = []
    handle = model.get_submodule(layer).register_forward_hook(lambda m, i, o: heard.append(o.shape[1]))
    modes = [(m, m.training) for m in model.modules()]
    model.eval()
    for x in batches: model(x)
    handle.remove()
    for m, t in modes: m.training = t
    return [k for k in range(heard[0]) if k not in dead_by_maxima(model, layer, batches)]


DEAD_CHANNELS = dict(
    right={"maxima": dead_by_maxima, "in a copy, any": dead_by_any, "sets": dead_by_sets},
    wrong={"as given": (dead_as_given, "mode"),
           "training mode": (counted(mode=lambda m: m.train()), "evaluation mode"),
           "mode as it came": (counted(mode=nothing), "evaluation mode"),
           "mode not put back": (counted(after=nothing), "mode"),
           "all in training mode afterwards": (counted(after=all_train), "mode"),
           "all as the top was": (counted(after=as_the_top), "mode"),
           "only the last batch": (counted(which=lambda heard: heard[-1:]), "last batch"),
           "only the first batch": (counted(which=lambda heard: heard[:1]), "first batch"),
           "exactly 0": (counted(silent=lambda v: (v == 0).all()), "below zero everywhere"),
           "no copy": (counted(keep=lambda o: o), "in place"),
           "hook left": (counted(remove=False), "hook"),
           "0 or below anywhere": (counted(silent=lambda v: (v <= 0).any()), "some"),
           "0 or below in the mean": (counted(silent=lambda v: v.mean() <= 0), "mean"),
           "below 0 only": (counted(silent=lambda v: (v < 0).all()), "0"),
           "only the first picture": (counted(silent=lambda v: (v[0] <= 0).all()), "first picture"),
           "batches joined": (batches_joined, "size"),
           "dead in any batch": (dead_in_any_batch, "some"),
           "how many": (counted(end=len), "should be [1, 3, 4]"),
           "True and False": (mask, "entries"),
           "the living": (living, "alive"),
           "falling order": (counted(end=lambda dead: dead[::-1]), "first difference is at index 0")})

# ---------------------------------------------------------------- plan

GOOD = [(3, 1), (3, 1), (3, 2), (3, 2), (3, 1), (3, 1), (3, 1)]
PLAN = dict(
    right={"early strides": GOOD, "lists": [list(p) for p in GOOD]},
    wrong={"late strides": ([(3, 1)] * 5 + [(3, 2)] * 2, "35"),
           "strides at 3 and 5": ([(3, 1), (3, 1), (3, 2), (3, 1), (3, 2), (3, 1), (3, 1)], "35"),
           "no stride": ([(3, 1)] * 7, "35"),
           "one stride": ([(3, 1), (3, 1), (3, 2)] + [(3, 1)] * 4, "35"),
           "stride at once": ([(3, 2), (3, 2)] + [(3, 1)] * 5, "first two"),
           "stride in the second": ([(3, 1), (3, 2), (3, 2)] + [(3, 1)] * 4, "first two"),
           "three strides": ([(3, 1), (3, 1), (3, 2), (3, 2), (3, 2), (3, 1), (3, 1)], "8 x 8"),
           "a kernel of 7": ([(7, 1), (3, 1), (3, 2), (3, 2), (3, 1), (3, 1), (3, 1)], "kernel"),
           "kernels of 5": ([(5, 1)] * 7, "kernel"),
           "a stride of 4": ([(3, 1), (3, 1), (3, 4), (3, 1), (3, 1), (3, 1), (3, 1)], "stride"),
           "eight layers": ([*GOOD, (3, 1)], "seven"),
           "six layers": (GOOD[:-1], "seven"),
           "1x1 strides": ([(3, 1), (3, 1), (1, 2), (1, 2), (3, 1), (3, 1), (3, 1)], "35"),
           "stride before kernel": ([p[::-1] for p in GOOD], "kernel"),
           "only kernels": ([3] * 7, "pair"),
           "triples with a padding": ([(*p, 1) for p in GOOD], "pair"),
           "modules": ([nn.Conv2d(3, 3, 3, s, 1) for _, s in GOOD], "pair"),
           "a dict": (dict(enumerate(GOOD)), "list"),
           "texts": ([("3", "1")] * 7, "number")})

ANSWERS = {"overhear": OVERHEAR, "receptive_field": RECEPTIVE_FIELD, "dead_channels": DEAD_CHANNELS, "plan": PLAN}
