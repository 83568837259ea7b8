"""Where metrics go while a run goes on, and what is told of a study afterwards: Weights & Biases, or nowhere.

The parent process alone owns the tracker. In W&B a stage's curves are `<stage>/<metric>` over `<stage>/step`; the
headline metrics of a finished run have their names in reports, `validation/` before them where validation prompts were
measured; all else of run.json is behind `detail/`. A run of a study is one W&B run, whichever attempt, command or study
made it.
"""

from notus_exp.tracking.opening import end_service
from notus_exp.tracking.saving import save
from notus_exp.tracking.tracker import EXPIRED, Ending, Membership, NoTracker, Tracker, candidate_of, of_trial
from notus_exp.tracking.wandb_run import is_online, is_told_already, open_tracker, told_before, tracks
from notus_exp.tracking.wandb_study import track_study
from notus_exp.tracking.workspace import WorkspaceSpec, workspace

__all__ = [
    "EXPIRED",
    "Ending",
    "Membership",
    "NoTracker",
    "Tracker",
    "WorkspaceSpec",
    "candidate_of",
    "end_service",
    "is_online",
    "is_told_already",
    "of_trial",
    "open_tracker",
    "save",
    "told_before",
    "track_study",
    "tracks",
    "workspace",
]
