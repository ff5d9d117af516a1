"""Figures as tables for the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

from reelsense.bundle import LengthGroup, Manifest
from reelsense.evaluation.behaviours import Behaviours
from reelsense.evaluation.evaluate import Evaluation
from reelsense.evaluation.explanations import SHARES, Explanations
from reelsense.evaluation.metrics import Metrics, Share
from reelsense.evaluation.selective import SelectiveGroup, SelectiveResult


def as_text(found: Evaluation) -> str:
    """Return everything that was measured, one table after the other."""
    parts = [_figures(found), _confusion(found.metrics)]
    if found.decided:
        parts.append(_decided("unsure", found.decided))
        parts += _decided_by_length("unsure", found.selective_by_length)
    if found.flips:
        rows = [(each.name, _against(each.flips, each.target)) for each in found.flips]
        parts.append(_table("flips under harmless changes", rows))
    if found.pairs:
        rows = [(f"{each.name}: edits right", str(each.edits)) for each in found.pairs]
        rows += [(f"{each.name}: both right", str(each.both)) for each in found.pairs]
        parts.append(_table("edited reviews", rows))
    if found.single_sentences:
        rows = [
            ("accuracy", str(found.single_sentences.accuracy)),
            ("calibration error", f"{found.single_sentences.metrics.ece:.2%}"),
        ]
        parts.append(_table("single sentences (SST-2)", rows))
        if found.single_sentences.decided:
            title = "unsure, on single sentences"
            parts.append(_decided(title, found.single_sentences.decided))
            parts += _decided_by_length(title, found.single_sentences.selective_by_length)
    if found.behaviours:
        parts.append(_behaviours(found.behaviours))
    if found.identity:
        rows = [
            (
                f"{each.category}, {each.terms} terms, {each.source}",
                _against(each.changed, each.target),
            )
            for each in found.identity
        ]
        parts.append(_table("identity terms: sentences that change by more than 0.1", rows))
    if found.label_errors.count:
        rows = [("in all", f"{found.label_errors.count:,}")]
        if found.label_errors.audited:
            predictions, wrong = found.label_errors.audited, found.label_errors.not_upheld
            rows.append(
                ("of those people have looked at, not upheld", f"{wrong:,} of {predictions:,}")
            )
        parts.append(_table("labels that look wrong (cleanlab)", rows))
    if found.comparison:
        other = found.comparison
        rows = [
            ("accuracy", f"{other.metrics.accuracy:.2%}"),
            ("right where this one is wrong", f"{other.only_other_right:,}"),
            ("wrong where this one is right", f"{other.only_this_right:,}"),
            ("McNemar's exact p", f"{other.p_value:.2g}"),
        ]
        parts.append(_table(f"against {other.name}", rows))
    if found.explanations:
        parts.append(_explained(found.explanations))
    return "\n\n".join(parts)


def calibration_as_text(manifest: Manifest) -> str:
    """Return what a calibrated manifest promises."""
    control = manifest.risk_control
    if control is None:
        return "not calibrated"
    parts = [_calibration(group) for group in manifest.groups]
    default = f"{control.default_risk:.1%}" if control.default_risk else "all is decided"
    return "\n\n".join([*parts, _table("", [("where no risk is named", default)])])


def _calibration(group: LengthGroup) -> str:
    fitted = group.calibration
    if fitted is None or fitted.ece_before is None or fitted.ece_after is None:
        return f"calibration{_lengths(group)}: none"
    rows = [
        ("held-out reviews", f"{fitted.reviews:,}"),
        ("from", fitted.data),
        ("temperature", f"{fitted.temperature:.3f}"),
        ("window exponent", f"{fitted.window_exponent:.3f}"),
        ("calibration error before", f"{fitted.ece_before:.2%}"),
        ("calibration error after", f"{fitted.ece_after:.2%}"),
    ]
    rows += [(f"risk {each.risk:.1%}: decided", _from(each.score)) for each in group.thresholds]
    return _table(f"calibration{_lengths(group)}", rows)


def _lengths(group: LengthGroup | SelectiveGroup) -> str:
    if group.max_tokens is not None:
        return f", {group.name} (up to {group.max_tokens} tokens)"
    return "" if group.name == "all" else f", {group.name}"


def _from(score: float | None) -> str:
    if score is None:
        return "nothing: out of reach"
    return f"from {score:.1%} on" if score else "everything"


def _figures(found: Evaluation) -> str:
    metrics = found.metrics
    rows = [
        ("reviews", f"{metrics.reviews:,}"),
        ("accuracy", f"{metrics.accuracy:.2%}"),
        *(
            (f"accuracy, {view.name}", f"{view.accuracy.value:.2%}")
            for view in found.label_views[1:]
        ),
        ("accuracy of the surest 80 %", f"{found.surest.value:.2%}"),
        ("macro-F1", f"{metrics.macro_f1:.2%}"),
        ("AUROC", "-" if metrics.auroc is None else f"{metrics.auroc:.4f}"),
        ("log-loss", f"{metrics.log_loss:.4f}"),
        ("calibration error (ECE, 15 bins)", f"{metrics.ece:.2%}"),
    ]
    if found.star_mae is not None:
        rows.append(("stars, mean absolute error", f"{found.star_mae:.2f}"))
    return _table("", rows)


def _explained(found: Explanations) -> str:
    deletion, flips, stability = found.deletion, found.flips, found.stability
    rows = [
        ("reviews explained", f"{found.reviews:,}"),
        ("log-odds moved by the heaviest sentence", f"{deletion.heaviest:.2f}"),
        ("by a random one of like length", f"{deletion.random:.2f}"),
        ("the first to the second", f"{deletion.ratio:.1f}" if deletion.ratio else "-"),
        ("reviews with a flip", str(flips.found)),
        ("sentences in it, median", f"{median(flips.sizes):g}" if flips.sizes else "-"),
        ("with typos: same label", str(stability.same_label)),
        ("with typos: same heaviest sentence", str(stability.same_heaviest)),
        ("with typos: rank correlation, median", f"{stability.correlation:.2f}"),
    ]
    shares = ", ".join(f"{each:.0%}" for each in SHARES)
    for what, name in (("comprehensiveness", "lost without"), ("sufficiency", "lost with alone")):
        rows += [
            (f"{name} {shares}: {each.name}", "  ".join(f"{x:+.3f}" for x in getattr(each, what)))
            for each in found.rankings
        ]
    return _table("explanations", rows)


def _behaviours(found: Behaviours) -> str:
    rows = [(each.name, _against(each.errors, each.target)) for each in found.errors]
    text = _table("sentences that test one behaviour: wrong labels", rows)
    if found.neutral:
        rows = [(each.name, str(each.unsure)) for each in found.neutral]
        text += "\n\n" + _table('sentences without an opinion: "unsure"', rows)
    return text


def _against(measured: Share, target: float | None) -> str:
    return f"{measured}" if target is None else f"{measured}, target {target:.0%} or less"


def _decided_by_length(title: str, groups: Sequence[SelectiveGroup]) -> list[str]:
    return [_decided(f"{title}{_lengths(group)}", group.decided) for group in groups]


def _decided(title: str, decided: Sequence[SelectiveResult]) -> str:
    rows = []
    for each in decided:
        fared = f"{each.decided.value:.1%} decided, {each.wrong.value:.2%} of them wrong"
        if not each.reachable:
            fared = "out of reach"
        elif not each.decided.count:
            fared = "nothing decided"
        rows.append((f"risk {each.risk:.1%}", fared))
    return _table(title, rows)


def _table(title: str, rows: Sequence[tuple[str, str]]) -> str:
    width = max(len(name) for name, _ in rows)
    lines = [f"{name:<{width}}  {value}" for name, value in rows]
    return "\n".join([title, *lines] if title else lines)


def _confusion(metrics: Metrics) -> str:
    width = max(9, *map(len, metrics.labels))
    head = " ".join(f"{label:>{width}}" for label in metrics.labels)
    lines = [f"{'truth / answer':<{width + 10}} {head}"]
    for label, counts in zip(metrics.labels, metrics.confusion, strict=True):
        lines.append(f"{label:<{width + 10}} " + " ".join(f"{n:>{width},}" for n in counts))
    return "\n".join(lines)
