"""The pruning audit in words."""

from __future__ import annotations

from sweeps.pruning_audit import PruningAudit


def audit_lines(audit: PruningAudit, metric: str) -> list[str]:
    """What the control group says of the pruner, overall and by schedule class."""
    control = len(audit.control)
    if not control:
        return ["pruning audit: no setting of the control group has finished, so nothing can be said"]
    stopped = sum(one.stopped_after is not None for one in audit.control)
    lines = [
        f"pruning audit: of {control} control settings, which are trained to the end in any case, the pruner "
        f"would have given up {stopped}; {_loss_words(audit, metric)}"
    ]
    for family in audit.families:
        good = (
            f"of the {family.good} that ended among the best quarter of all, {family.good_stopped}"
            if family.good
            else "none of them ended among the best quarter of all"
        )
        lines.append(
            f"  {family.schedule}: {family.stopped} of {family.trained} would have been given up; {good}"
        )
    return lines


def _loss_words(audit: PruningAudit, metric: str) -> str:
    best = audit.best_stopped
    if best is None:
        return "so nothing of them would have been lost"
    told = f"the best of these, trial {best.number} ({best.schedule}), came to {metric} {best.value:.4g}"
    if audit.best_kept is None:
        return f"{told}, and nothing else has finished"
    if audit.lost > 0:
        return (
            f"{told} and was better by {audit.lost:.3g} than the best that it kept ({audit.best_kept:.4g}): "
            f"it would have been lost after epoch {best.stopped_after}"
        )
    return f"nothing would have been lost: {told}, the best that it kept to {audit.best_kept:.4g}"
