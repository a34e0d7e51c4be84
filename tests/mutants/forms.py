"""Mistakes in the plain forms, and in the switch between them and what is fast."""

from tests.mutants.mutant import Mutant

BLOCK, SWITCH = "zoo/nn/rssm/block.py", "zoo/nn/fast/switch.py"
TESTS = ("tests/nn/fast/test_switch.py", "tests/dreamer_v3/test_plain_form.py")


def _block(what: str, old: str, new: str) -> Mutant:
    return Mutant(f"plain form: {what}", BLOCK, old, new, TESTS)


def _derived(what: str, old: str, new: str) -> Mutant:
    tests = ("tests/nn/fast/test_streams.py",)
    return Mutant(f"derived losses: {what}", "zoo/nn/fast/streams.py", old, new, tests)


MUTANTS = [
    Mutant(
        "switch: nothing is computed plainly",
        SWITCH,
        'return _form == "plain" or is_traced()',
        "return is_traced()",
        TESTS,
    ),
    Mutant(
        "switch: the plain form stays",
        SWITCH,
        "        _form = before\n",
        "        pass\n",
        TESTS,
    ),
    Mutant(
        "switch: kernels stay compiled in torch's form",
        "zoo/nn/fast/kernels.py",
        ' and in_use() == "fast"',
        "",
        ("tests/nn/fast/test_kernels.py",),
    ),
    _block(
        "dreams draw the latents of the step before",
        "_choose(self.prior(deter), draws[t]))\n                feats",
        "_choose(self.prior(deter), draws[t - 1]))\n                feats",
    ),
    _block(
        "the filter draws the latents of the step before",
        "_choose(post, None if draws is None else draws[t])",
        "_choose(post, None if draws is None else draws[t - 1])",
    ),
    _block(
        "the filter keeps the state at starts",
        "latent = Latent(latent.deter * keep, latent.stoch * keep[..., None])",
        "latent = Latent(latent.deter, latent.stoch * keep[..., None])",
    ),
    Mutant(
        "plain form: weights of several two-hot targets are ignored",
        "zoo/nn/distributions.py",
        "return -(picked * picked.new_tensor(scale)).sum(-1)",
        "return -picked.sum(-1)",
        TESTS,
    ),
    Mutant(
        "at once: the second function is called twice",
        "zoo/nn/fast/streams.py",
        "return first(*inputs), second(*inputs)",
        "return second(*inputs), second(*inputs)",
        ("tests/nn/fast/test_streams.py", *TESTS),
    ),
    _derived(
        "the weight of the loss is ignored",
        "iter(th._foreach_mul(list(ctx.saved_tensors), weight))",
        "iter(ctx.saved_tensors)",
    ),
    _derived(
        "what the loss is of gets no gradient",
        "return {name: _Derived.apply(loss.detach(), grads, *inputs)}",
        "return {name: _Derived.apply(loss.detach(), grads, x.detach(), *inputs[1:])}",
    ),
    _derived(
        "of several losses only the first is derived, and the others are lost",
        "or len(found) != 1:",
        "or len(found) < 1:",
    ),
    _derived(
        "a hook sees gradients twice",
        "if any(tensor._backward_hooks for tensor in inputs):",
        "if False:",
    ),
    _derived(
        "a loss is derived where no gradient is wanted",
        "if not (_overlaps(x) and x.requires_grad and th.is_grad_enabled()) or",
        "if not _overlaps(x) or",
    ),
]
