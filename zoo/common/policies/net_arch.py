"""Hidden layers of actor and critic in SB3's words."""

import warnings
from collections.abc import Sequence

from dreamzoo.nn.settings import Widths, read_settings

#: As ``net_arch`` of SB3's actor-critic policies: one list for both, or one for each.
NetArch = Sequence[int] | dict[str, Sequence[int]]


def split_arch(
    net_arch: NetArch | None, actor: Sequence[int], critic: Sequence[int]
) -> dict[str, list[int]]:
    """
    Read the hidden widths of actor and critic.

    :param net_arch: as a user gives it
    :param actor: widths of the actor where nothing is given
    :param critic: widths of the critic where nothing is given
    :return: ``pi`` and ``vf``
    :raises ValueError: for keys or widths that make no sense
    """
    if net_arch is None:
        return dict(pi=list(actor), vf=list(critic))
    if isinstance(net_arch, (list, tuple)) and net_arch and isinstance(net_arch[0], dict):
        warnings.warn(
            f"net_arch={net_arch} has the form of SB3 before 1.8; pass the dict without the list.",
            stacklevel=3,
        )
        net_arch = net_arch[0]
    if not isinstance(net_arch, dict):
        net_arch = dict(pi=net_arch, vf=net_arch)
    unknown = set(net_arch) - {"pi", "vf", "qf"}
    if unknown:
        raise ValueError(f"net_arch has the keys {sorted(unknown)}; expected pi and vf (or qf).")
    both = dict(pi=net_arch.get("pi", []), vf=net_arch.get("vf", net_arch.get("qf", [])))
    return read_settings("net_arch", {"pi": Widths(), "vf": Widths()}, both)
