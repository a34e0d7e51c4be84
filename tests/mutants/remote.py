"""Mistakes in environments that run in worker processes, and in agents that act there."""

from tests.mutants.mutant import Mutant

VEC_ENV, FLEET, PIPELINE, WORKER, CLUSTER = (
    f"envs/remote/{name}.py" for name in ("vec_env", "fleet", "pipeline", "worker", "cluster")
)
ACTING = "zoo/common/remote_acting.py"
TESTS = {
    VEC_ENV: ("tests/envs/remote/test_vec_env.py",),
    FLEET: ("tests/envs/remote/test_vec_env.py",),
    WORKER: ("tests/envs/remote/test_vec_env.py",),
    CLUSTER: ("tests/envs/remote/test_cluster.py",),
    PIPELINE: ("tests/envs/remote/test_acting.py",),
    ACTING: ("tests/envs/remote/test_acting.py",),
}


def _mutant(what: str, file: str, old: str, new: str, *tests: str) -> Mutant:
    return Mutant(f"remote: {what}", file, old, new, tests or TESTS[file])


MUTANTS = [
    _mutant(
        "asking for what there is not ends episodes",
        FLEET,
        "if self._options.restart_on_error and in_play:",
        "if self._options.restart_on_error:",
    ),
    _mutant("what is closed goes on with new workers", FLEET, "self._is_over = True", "pass"),
    _mutant(
        "a copy has no longer than a step",
        FLEET,
        'self._options.start_timeout if method == "take" else None',
        "None",
        "tests/envs/remote/test_acting.py",
    ),
    _mutant(
        "what was cut off counts as terminated",
        VEC_ENV,
        '"TimeLimit.truncated": True',
        '"TimeLimit.truncated": False',
    ),
    _mutant(
        "an episode that was cut off ends with the first observation of the next",
        VEC_ENV,
        "                self._take_reset(index, obs, reset_infos)\n                continue\n",
        "                continue\n",
    ),
    _mutant(
        "a new life repeats the seeds of the old one",
        VEC_ENV,
        "_another(seed, self._lives[index])\n",
        "seed\n",
    ),
    _mutant("lives have no seeds", VEC_ENV, "self._first_seeds = list(self._seeds)", "pass"),
    _mutant(
        "what cannot be set again is passed over",
        VEC_ENV,
        'self._fleet.tell(index, "set_attr", name, value, [place])',
        'self._fleet.send(index, "set_attr", name, value, [place])',
    ),
    _mutant(
        "infos are read-only",
        VEC_ENV,
        "return self._joined_obs(), rewards, dones, own(infos)",
        "return self._joined_obs(), rewards, dones, infos",
    ),
    _mutant(
        "answers are read-only",
        VEC_ENV,
        "iter(own(answer) or ())",
        "iter(answer or ())",
    ),
    _mutant(
        "what was set is forgotten",
        VEC_ENV,
        "            self._set_again(lost)\n",
        "",
    ),
    _mutant(
        "a loss between two steps is not told",
        VEC_ENV,
        "                self._note_renewed(lost, self._renew(lost))\n                renewed",
        "                self._renew(lost)\n                renewed",
    ),
    _mutant(
        "a reset leaves a loss to be told",
        VEC_ENV,
        "self._asked, self._renewed, self._made = {}, {}, None\n        if any",
        "self._asked, self._made = {}, None\n        if any",
    ),
    _mutant(
        "seeds are used again",
        VEC_ENV,
        "        self._reset_seeds()\n",
        "",
    ),
    _mutant(
        "all attributes are those of the first environments",
        VEC_ENV,
        "            places.setdefault(index, []).append(place)\n",
        "            places.setdefault(index, []).append(0)\n",
    ),
    _mutant(
        "workers that die are started without end",
        FLEET,
        "        if member.restarts >= most:\n",
        "        if member.restarts >= 10 * most:\n",
    ),
    _mutant(
        "losses of a long training add up",
        FLEET,
        "            member.restarts = 0\n",
        "            pass\n",
    ),
    _mutant(
        "steps since a start are not counted anew",
        FLEET,
        "self.actor, self.steps = actor, 0",
        "self.actor, self.steps = actor, vars(self).get('steps', 0)",
    ),
    _mutant(
        "spaces of workers may differ",
        FLEET,
        "            refuse_other_spaces(str(member), Spaces(*found), self.spaces)\n",
        "",
    ),
    _mutant(
        "a worker waits for ever",
        FLEET,
        "return None if end == inf else max(end - time.monotonic(), 0.0)",
        "return None",
    ),
    _mutant(
        "what waits behind steps ahead has the time of one",
        FLEET,
        "        del self._ahead[: before + 1]\n        return before\n",
        "        del self._ahead[: before + 1]\n        return 0\n",
        "tests/envs/remote/test_acting.py",
    ),
    _mutant(
        "steps are waited for again and again",
        FLEET,
        "        del self._ahead[: before + 1]\n",
        "",
        "tests/envs/remote/test_acting.py",
    ),
    _mutant(
        "nobody hears of news that copies cannot take",
        FLEET,
        "        if is_told:\n",
        "        if False:\n",
        "tests/envs/remote/test_acting.py",
    ),
    _mutant(
        "news are waited for before they are due",
        FLEET,
        "heard = [ref for ref in self._unheard if ref not in self._ahead]",
        "heard = self._unheard",
        "tests/envs/remote/test_acting.py",
    ),
    _mutant(
        "asking for something hides what a worker could not do",
        FLEET,
        "told[index] = member.hear() if in_play else []",
        "told[index] = member.hear()",
        "tests/envs/remote/test_acting.py",
    ),
    _mutant(
        "news that a copy cannot take count as the loss of an environment",
        FLEET,
        "_left(ends[index]), in_play=False)",
        "_left(ends[index]), in_play)",
        "tests/envs/remote/test_acting.py",
    ),
    _mutant(
        "a worker without memory ends everything",
        FLEET,
        "        except errors.RayError as error:  #",
        "        except errors.RayActorError as error:  #",
    ),
    _mutant(
        "a worker has its CPU for ever",
        FLEET,
        'return {"num_cpus": int(is_free), **given}',
        'return {"num_cpus": int(is_free or any(m.num_cpus for m in members)), **given}',
    ),
    _mutant(
        "the CPU of a dead worker is thought to be free at once",
        FLEET,
        "FREED if any(member.num_cpus for member in members) else 0.0",
        "0.0",
    ),
    _mutant(
        "what makes environments is looked up by its value",
        FLEET,
        "{id(maker): maker for maker in makers}.values()",
        "dict.fromkeys(makers)",
    ),
    _mutant(
        "what is refused leaves its workers behind",
        FLEET,
        "        except BaseException:\n            self.kill()\n",
        "        except BaseException:\n",
    ),
    _mutant(
        "a worker that is replaced lives on",
        FLEET,
        "        self._ray.kill(member.actor)\n        most",
        "        most",
    ),
    _mutant(
        "a time limit counts as a termination",
        WORKER,
        'info["TimeLimit.truncated"] = truncated and not terminated',
        'info["TimeLimit.truncated"] = False',
    ),
    _mutant(
        "infos of resets stay in the worker",
        WORKER,
        "last, resets[i] = env.reset()",
        "last, _ = env.reset()",
    ),
    _mutant(
        "all environments of a worker get the options of the first",
        WORKER,
        '{"options": own(option)} if option else {}',
        '{"options": own(options[0])} if option else {}',
    ),
    _mutant(
        "environments cannot change their actions",
        WORKER,
        "zip(self._envs, own(actions), strict=True)",
        "zip(self._envs, actions, strict=True)",
    ),
    _mutant(
        "make_env has what is read-only",
        WORKER,
        "self._makers = own(makers)",
        "self._makers = makers",
    ),
    _mutant(
        "options are read-only",
        WORKER,
        '{"options": own(option)} if option else {}',
        '{"options": option} if option else {}',
    ),
    _mutant(
        "what is set is read-only",
        WORKER,
        "setattr(self._envs[i], name, own(value))",
        "setattr(self._envs[i], name, value)",
    ),
    _mutant(
        "arguments are read-only",
        WORKER,
        "own_args, own_kwargs = own((args, kwargs))",
        "own_args, own_kwargs = args, kwargs",
    ),
    _mutant(
        "observations have the dtype that the environment chose",
        WORKER,
        "np.stack([np.asarray(x, space.dtype) for x in observations])",
        "np.stack([np.asarray(x) for x in observations])",
        "tests/envs/remote/test_vec_env.py",
    ),
    _mutant(
        "copies do not know where episodes begin",
        WORKER,
        "self._obs, self._starts = self._stack(obs), dones",
        "self._obs, self._starts = self._stack(obs), np.zeros(n, bool)",
        "tests/envs/remote/test_acting.py",
    ),
    _mutant(
        "workers are one step ahead, whatever is asked for",
        PIPELINE,
        "            for _ in range(self._ahead):\n",
        "            for _ in range(1):\n",
    ),
    _mutant(
        "all workers draw the same numbers",
        PIPELINE,
        "(actor, self._make_seed()) for index",
        "(actor, 0) for index",
    ),
    _mutant(
        "a worker that is started again has nothing to act with",
        VEC_ENV,
        "                self._pipeline.equip(lost)\n",
        "                pass\n",
        "tests/envs/remote/test_acting.py",
    ),
    _mutant(
        "a worker that is started again waits to be asked",
        VEC_ENV,
        "        self._pipeline.fill(lost)\n",
        "",
        "tests/envs/remote/test_acting.py",
    ),
    _mutant(
        "a worker that is started again while it is asked acts only when it is asked again",
        VEC_ENV,
        "                self._pipeline.fill(renewed)\n",
        "                pass\n",
        "tests/envs/remote/test_acting.py",
    ),
    _mutant(
        "news come with every update",
        ACTING,
        "new >= self._env.sync_every",
        "new >= 1",
    ),
    _mutant(
        "the learner forgets what its copies did last",
        ACTING,
        "policy.memory.unpack(remembered)",
        "policy.memory.unpack([*remembered[:-1], 0 * remembered[-1]])",
    ),
    _mutant(
        "the first update is kept back",
        ACTING,
        " or (self._told == 0 and new > 0)",
        "",
    ),
    _mutant(
        "copies never stop to choose randomly",
        ACTING,
        "        self._may_train = news.may_train\n",
        "",
    ),
    _mutant(
        "copies do not know how much was learned",
        ACTING,
        "        vars(self._agent).update(news.numbers)\n",
        "",
    ),
    _mutant(
        "copies see images as they come",
        ACTING,
        "                keys += env.image_space_keys if is_dict else [None]\n",
        "                pass\n",
    ),
    _mutant(
        "what changes observations is ignored",
        ACTING,
        "        elif not isinstance(env, TRANSPARENT):\n",
        "        elif False:\n",
    ),
    _mutant(
        "every call of learn begins anew",
        "zoo/common/replay_agent.py",
        "        if not goes_on:\n            self._elsewhere",
        "        if True:\n            self._elsewhere",
        "tests/envs/remote/test_acting.py",
    ),
    _mutant(
        "workers are nicer than who waits for them",
        CLUSTER,
        'equal = {"worker_niceness": 0}',
        'equal = {"worker_niceness": 15}',
    ),
    _mutant(
        "another cluster is taken for this one",
        CLUSTER,
        "if named and _resolve(str(address)) != _resolve(joined):",
        "if False:",
    ),
]
