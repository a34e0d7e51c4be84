"""Every task of every suite that can be installed passes both checkers."""

import pytest
from gymnasium.utils.env_checker import check_env as check_gymnasium_env
from stable_baselines3.common.env_checker import check_env as check_sb3_env

from dreamzoo.benchmark import Task, suite
from dreamzoo.envs import make_env

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:.*unwrapped version"),  # said of every wrapper
]

#: ProcGen, Crafter, Minecraft, bsuite and MinAtar have such tests of their own, beside others.
SUITES = ("atari57", "atari100k", "dmc_proprio", "dmc_vision", "memory")
TASKS = [task for name in SUITES for task in suite(name).tasks]


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.env)
def test_the_task_passes_the_checkers(task: Task) -> None:
    try:
        env = make_env(task.env)
    except ImportError as error:
        pytest.skip(str(error))
    check_gymnasium_env(env, skip_render_check=True)  # a window needs a display
    check_sb3_env(env)
    env.close()
