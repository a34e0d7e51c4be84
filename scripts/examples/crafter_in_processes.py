"""Train DreamerV3 on Crafter, each of whose worlds lives in a process of its own."""

from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.vec_env import SubprocVecEnv

from dreamzoo import DreamerV3
from dreamzoo.analysis.callbacks import SaveCallback
from dreamzoo.envs import make_crafter


def main(steps: int = 1_000_000, n_envs: int = 4) -> None:
    env = make_vec_env(make_crafter, n_envs=n_envs, seed=0, vec_env_cls=SubprocVecEnv)
    model = DreamerV3(
        "CnnPolicy",
        env,
        train_ratio=32,  # the authors' 512 needs a GPU
        policy_kwargs=dict(size="12m"),
        seed=0,
        verbose=1,
    )
    model.learn(steps, callback=SaveCallback("runs/crafter", every=10_000))
    env.close()
    # Cut off, it goes on with DreamerV3.load("runs/crafter", env=env) and
    # model.resume("runs/crafter").
    print(f"{model.num_timesteps} steps")


if __name__ == "__main__":  # the processes of the worlds import this file
    main()
