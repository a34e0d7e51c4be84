"""Train DreamerV3 on Crafter, each of whose worlds lives in a process of its own."""

from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.vec_env import SubprocVecEnv

from dreamzoo import DreamerV3
from dreamzoo.analysis.callbacks import SaveCallback
from dreamzoo.envs import make_crafter


def main(steps: int = 100_000, n_envs: int = 4) -> None:
    env = make_vec_env(make_crafter, n_envs=n_envs, seed=0, vec_env_cls=SubprocVecEnv)
    model = DreamerV3(
        "CnnPolicy",
        env,
        # The authors' 1,000,000 steps at a ratio of 512 and the size 200m need a GPU.
        train_ratio=32,
        buffer_size=steps,  # 12 kB each for an image
        policy_kwargs=dict(size="1m"),
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
