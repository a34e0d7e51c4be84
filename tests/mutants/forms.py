"""Mistakes in the plain forms, and in the switch between them and what is fast."""

from tests.mutants.mutant import Mutant

BLOCK, SWITCH = "zoo/nn/rssm/block.py", "zoo/nn/fast/switch.py"
TESTS = ("tests/nn/fast/test_switch.py", "tests/dreamer_v3/test_plain_form.py")


def _block(what: str, old: str, new: str) -> Mutant:
    return Mutant(f"plain form: {what}", BLOCK, old, new, TESTS)


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
]
