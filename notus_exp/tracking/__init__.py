"""Where metrics go while a run goes on: Weights & Biases, or nowhere. The parent process alone owns the tracker.

W&B calls everything by the same names: a stage's curves are `<stage>/<metric>` over `<stage>/step`, the final metrics
are run.json's, each with `/low`, `/high` and `/n` beside it.
"""

from notus_exp.tracking.tracker import Ending, Membership, NoTracker, Tracker
from notus_exp.tracking.wandb_run import open_tracker
from notus_exp.tracking.wandb_study import track_study

__all__ = ["Ending", "Membership", "NoTracker", "Tracker", "open_tracker", "track_study"]
