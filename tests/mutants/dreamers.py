"""Mistakes in the losses of Dreamer V1 and V2."""

from tests.mutants.mutant import Mutant

V1, V2 = "zoo/dreamer_v1/losses.py", "zoo/dreamer_v2/losses.py"
#: Tests that are tried first, by file.
TESTS = {V1: ("tests/dreamer_v1",), V2: ("tests/dreamer_v2",)}


def _mutant(file: str, what: str, old: str, new: str) -> Mutant:
    return Mutant(f"Dreamers: {what}", file, old, new, TESTS[file])


MUTANTS = [
    # ------------------------------------------------------------------ Dreamer V1
    _mutant(
        V1,
        "V1 clips free nats in every step",
        "free_mean(kl, free_nats)",
        "kl.clamp(min=free_nats).mean()",
    ),
    _mutant(V1, "V1 turns the KL divergence around", "kl = post.kl(prior)", "kl = prior.kl(post)"),
    _mutant(
        V1,
        "V1 subtracts the free nats",
        "free_mean(kl, free_nats)",
        "(kl.mean() - free_nats).clamp(min=0.0)",
    ),
    _mutant(V1, "V1 counts the start of a dream", "(x[-later:] for x", "(x[:later] for x"),
    _mutant(
        V1,
        "V1 does not weigh the actor's returns",
        '"actor": -(weight * returns).mean()',
        '"actor": -returns.mean()',
    ),
    _mutant(
        V1,
        "V1 does not weigh the critic's errors",
        '"critic": (weight * error).mean()',
        '"critic": error.mean()',
    ),
    _mutant(
        V1,
        "V1 weighs by the discount after a state",
        "weight = discount_weights(discount)[:-1]",
        "weight = discount_weights(discount)[1:]",
    ),
    _mutant(
        V1,
        "V1 lets the critic's loss move its targets",
        "(prediction, returns.detach())",
        "(prediction, returns)",
    ),
    _mutant(
        V1,
        "V1 lets the critic's loss move the actor",
        "(prediction, returns.detach())",
        "(value[:-1], returns.detach())",
    ),
    _mutant(
        V1,
        "V1 compares values with returns one state later",
        "dream.prediction[1 - later :]",
        "dream.prediction[: later - 1]",
    ),
    _mutant(V1, "V1 descends its returns", '"actor": -(weight', '"actor": (weight'),
    # ------------------------------------------------------------------ DreamerV2
    _mutant(
        V2,
        "V2 balances the KL divergence the other way",
        "kl_balance * to_prior + (1.0 - kl_balance) * to_post",
        "kl_balance * to_post + (1.0 - kl_balance) * to_prior",
    ),
    _mutant(
        V2,
        "V2 clips free nats in every step",
        "(free_mean(x, free_nats) for x in (dyn, rep))",
        "(x.clamp(min=free_nats).mean() for x in (dyn, rep))",
    ),
    _mutant(
        V2,
        "V2 ignores free nats without balancing",
        "free_mean(post.kl(prior), free_nats)",
        "post.kl(prior).mean()",
    ),
    _mutant(
        V2,
        "V2 halves the plain divergence's gradient",
        "loss = free_mean(post.kl(prior), free_nats)",
        "loss = free_mean(post.detach().kl(prior), free_nats)",
    ),
    _mutant(
        V2,
        "V2 judges actions by the state they were chosen in",
        "(returns[1:] - slow[:-2]).detach()",
        "(returns[:-1] - slow[:-2]).detach()",
    ),
    _mutant(
        V2,
        "V2 takes the next state's value as the baseline",
        "(returns[1:] - slow[:-2]).detach()",
        "(returns[1:] - slow[1:-1]).detach()",
    ),
    _mutant(
        V2,
        "V2 lets gradients through the advantage",
        "(returns[1:] - slow[:-2]).detach()",
        "(returns[1:] - slow[:-2])",
    ),
    _mutant(
        V2,
        "V2 mixes both objectives the other way",
        "rho * dream.log_prob * advantage + (1.0 - rho) * returns[1:]",
        "(1.0 - rho) * dream.log_prob * advantage + rho * returns[1:]",
    ),
    _mutant(
        V2,
        "V2 punishes entropy",
        "objective + ent_coef * dream.entropy",
        "objective - ent_coef * dream.entropy",
    ),
    _mutant(V2, "V2 does not weigh the actor", "-(weight[:-2] * objective)", "-(1.0 * objective)"),
    _mutant(
        V2,
        "V2 weighs the actor by the state that follows",
        "-(weight[:-2] * objective)",
        "-(weight[1:-1] * objective)",
    ),
    _mutant(
        V2,
        "V2 does not weigh the critic",
        "critic_loss = weight[:-1] * unit",
        "critic_loss = 1.0 * unit",
    ),
    _mutant(
        V2,
        "V2 lets the critic's loss move its targets",
        "unit_variance_loss(value, returns.detach())",
        "unit_variance_loss(value, returns)",
    ),
    _mutant(
        V2,
        "V2 lets the critic's loss move the actor",
        "value = critic(dream.feat[:-1].detach())",
        "value = critic(dream.feat[:-1])",
    ),
    _mutant(
        V2,
        "V2 believes the head about the start",
        "discount = th.cat([gamma * (~is_terminal).float()[None], discount[1:]])",
        "discount = discount.clone()",
    ),
    _mutant(
        V2,
        "V2 forgets gamma at the start",
        "[gamma * (~is_terminal).float()[None]",
        "[(~is_terminal).float()[None]",
    ),
    _mutant(
        V2,
        "V2 rewards the entropy one state off",
        "policy.entropy()[:-1]",
        "policy.entropy()[1:]",
    ),
    _mutant(
        V2,
        "V2 scores the action after the next",
        "policy.log_prob(actions.detach())[:-1]",
        "policy.log_prob(actions.detach())[1:]",
    ),
    _mutant(
        V2,
        "V2 scores actions through their own gradient",
        "policy.log_prob(actions.detach())[:-1]",
        "policy.log_prob(actions)[:-1]",
    ),
    _mutant(
        V2,
        "V2 never looks through the dynamics",
        "graph=through_dynamics",
        "graph=False",
    ),
    _mutant(
        V2,
        "V2 stops the image gradients of every agent",
        "feat if image_gradients else feat.detach()",
        "feat.detach()",
    ),
    _mutant(
        V2,
        "V2 ignores the ablation of image gradients",
        "feat if image_gradients else feat.detach()",
        "feat",
    ),
    _mutant(
        V2,
        "V2 ignores the ablation of reward gradients",
        "reward_feat = feat if reward_gradients else feat.detach()",
        "reward_feat = feat",
    ),
]
