"""Starting trainings in processes of their own, here and on a cluster, and watching them."""

from dreamzoo.launch.attempt import BUSY, ELSEWHERE, Attempt, Backend, NotReady, Outcome, Submit

__all__ = ["BUSY", "ELSEWHERE", "Attempt", "Backend", "NotReady", "Outcome", "Submit"]
