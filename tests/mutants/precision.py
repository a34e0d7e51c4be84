"""Mistakes in what products multiply, and in what torch's switches are left at."""

from tests.mutants.mutant import Mutant

PRECISION, PRODUCTS = "zoo/nn/fast/precision.py", "zoo/nn/fast/products.py"
PROCESS, POLICIES = "zoo/nn/process.py", "zoo/common/policies/world_model.py"
REPLAY_AGENT, MEMORY_AGENT = "zoo/common/replay_agent.py", "zoo/common/memory_agent.py"
DREAM = "envs/dreams/vector_env.py"
TAPES, LAYERS = "zoo/nn/fast/tapes.py", "zoo/nn/networks/layers.py"
SWITCHES, AGENTS = "tests/nn/fast/test_precision.py", "tests/sb3/test_precision.py"
NUMBERS = "tests/nn/fast/test_products.py"

MUTANTS = [
    Mutant(
        "precision: updates compute in float32 whatever the agent says",
        REPLAY_AGENT,
        "with using(self.precision, self.device):",
        'with using("fp32", self.device):',
        (AGENTS,),
    ),
    Mutant(
        "precision: acting computes in whatever torch is set to",
        POLICIES,
        "    @in_own_precision\n    def act(",
        "    def act(",
        (AGENTS,),
    ),
    Mutant(
        "precision: dreams compute in whatever torch is set to",
        DREAM,
        "    @in_own_precision\n    def step(",
        "    def step(",
        (AGENTS,),
    ),
    Mutant(
        "precision: a change after the constructor does not reach the policy",
        MEMORY_AGENT,
        "            self.policy.precision = self.precision\n",
        "            pass\n",
        (AGENTS,),
    ),
    Mutant(
        "precision: torch's switches stay as the agent has set them",
        PRECISION,
        "        if switches is not None:\n            _write(*switches)\n",
        "",
        (SWITCHES,),
    ),
    Mutant(
        "precision: a switch that followed another no longer does",
        PRECISION,
        'found[backend, op] = "none" if name == _get(backend, "all") else name',
        "found[backend, op] = name",
        (SWITCHES,),
    ),
    Mutant(
        "precision: convolutions are left as they are found",
        PRECISION,
        "            _write(_OLD_NAMES[self._wanted], self._switches())",
        "            _write(_OLD_NAMES[self._wanted], {})",
        (SWITCHES,),
    ),
    Mutant(
        "precision: what an interrupt entered is not left",
        PROCESS,
        "            precision.leave(depth)\n",
        "",
        (SWITCHES,),
    ),
    Mutant(
        "precision: bf16 is emulated where there are no instructions for it",
        PRECISION,
        'if precision == "bf16" and not _has_bf16(kind):',
        'if precision == "bf16" and kind == "meta":',
        (SWITCHES, AGENTS),
    ),
    Mutant(
        "products: small ones are rounded, too",
        PRODUCTS,
        "return min(sides) >= SMALLEST_SIDE[x.device.type]",
        "return max(sides) >= SMALLEST_SIDE[x.device.type]",
        (NUMBERS,),
    ),
    Mutant(
        "products: never rounded on a CPU",
        PRODUCTS,
        'SMALLEST_SIDE = {"cpu": 32,',
        'SMALLEST_SIDE = {"cpu": 32_000,',
        (NUMBERS,),
    ),
    Mutant(
        "products: rounded in float32, too",
        PRODUCTS,
        'return current() == "bf16" and _is_worth(x, *x.shape[-2:], y.shape[-1])',
        "return _is_worth(x, *x.shape[-2:], y.shape[-1])",
        (NUMBERS,),
    ),
    Mutant(
        "products: the bias is forgotten",
        PRODUCTS,
        "return th.add(th.mm(x.to(th.bfloat16), y.to(th.bfloat16)), bias, out=out)",
        "return th.add(th.mm(x.to(th.bfloat16), y.to(th.bfloat16)), 0 * bias, out=out)",
        (NUMBERS,),
    ),
    Mutant(
        "products: a total is overwritten",
        PRODUCTS,
        "return total.add_(mm(x, y)) if",
        "return total.copy_(mm(x, y)) if",
        (NUMBERS,),
    ),
    Mutant(
        "stacks: gradients of rounded weights are summed in bf16",
        TAPES,
        "th.zeros_like(x, dtype=grad.dtype)",
        "th.zeros_like(x)",
        (NUMBERS,),
    ),
    Mutant(
        "norms over channels: squares are taken of bf16",
        LAYERS,
        "        x = wide(x)\n",
        "",
        (NUMBERS,),
    ),
]
