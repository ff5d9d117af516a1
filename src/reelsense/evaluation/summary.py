"""Results as tables for the terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from statistics import median

from reelsense.bundle import LengthGroup, Manifest
from reelsense.report.results import (
    DELETION_SHARES,
    Behaviours,
    ClassificationMetrics,
    Evaluation,
    ExplanationQuality,
    SelectiveGroup,
    SelectiveResult,
    Share,
)

_Rows = Sequence[tuple[str, str]]


def as_text(evaluation: Evaluation) -> str:
    """Return all results, as tables separated by blank lines."""
    return "\n\n".join(_tables(evaluation))


def _tables(evaluation: Evaluation) -> Iterator[str]:
    yield _metrics(evaluation)
    yield _confusion(evaluation.metrics)
    if evaluation.selective:
        yield _selective("selective prediction", evaluation.selective)
        yield from _by_length("selective prediction", evaluation.selective_by_length)
    if evaluation.label_changes:
        rows = [
            (row.name, _with_target(row.changed, row.target)) for row in evaluation.label_changes
        ]
        yield _table("label changes under perturbations", rows)
    if evaluation.pairs:
        rows = [(f"{pair.name}: edits correct", str(pair.edits)) for pair in evaluation.pairs]
        rows += [(f"{pair.name}: both correct", str(pair.both)) for pair in evaluation.pairs]
        yield _table("edited reviews", rows)
    if sentences := evaluation.single_sentences:
        rows = [
            ("accuracy", str(sentences.accuracy)),
            ("calibration error", f"{sentences.metrics.ece:.2%}"),
        ]
        yield _table("single sentences (SST-2)", rows)
        if sentences.selective:
            title = "selective prediction, single sentences"
            yield _selective(title, sentences.selective)
            yield from _by_length(title, sentences.selective_by_length)
    if evaluation.behaviours:
        yield from _behaviours(evaluation.behaviours)
    if evaluation.identity:
        rows = [
            (
                f"{row.category}, {row.terms} terms, {row.source}",
                _with_target(row.changed, row.target),
            )
            for row in evaluation.identity
        ]
        yield _table("identity terms: sentences that change by more than 0.1", rows)
    if evaluation.label_errors.count:
        errors = evaluation.label_errors
        rows = [("total", f"{errors.count:,}")]
        if errors.audited:
            rows.append(("audited, not upheld", f"{errors.not_upheld:,} of {errors.audited:,}"))
        yield _table("labels that are probably wrong (cleanlab)", rows)
    if other := evaluation.comparison:
        rows = [
            ("accuracy", f"{other.metrics.accuracy:.2%}"),
            ("correct where this model is wrong", f"{other.only_other_right:,}"),
            ("wrong where this model is correct", f"{other.only_this_right:,}"),
            ("McNemar's exact p", f"{other.p_value:.2g}"),
        ]
        yield _table(f"comparison: {other.name}", rows)
    if evaluation.explanations:
        yield _explanations(evaluation.explanations)


def calibration_as_text(manifest: Manifest) -> str:
    """Return the calibration and decision thresholds of a model, as tables."""
    control = manifest.risk_control
    if control is None:
        return "not calibrated"
    tables = [_calibration(group) for group in manifest.groups]
    default = f"{control.default_risk:.1%}" if control.default_risk else "none: never unsure"
    return "\n\n".join([*tables, _table("", [("default target error rate", default)])])


def _calibration(group: LengthGroup) -> str:
    fitted = group.calibration
    if fitted is None or fitted.ece_before is None or fitted.ece_after is None:
        return f"calibration{_lengths(group)}: none"
    rows = [
        ("validation reviews", f"{fitted.reviews:,}"),
        ("data", fitted.data),
        ("temperature", f"{fitted.temperature:.3f}"),
        ("window exponent", f"{fitted.window_exponent:.3f}"),
        ("calibration error before", f"{fitted.ece_before:.2%}"),
        ("calibration error after", f"{fitted.ece_after:.2%}"),
    ]
    for threshold in group.thresholds:
        score = "any" if threshold.score == 0 else f"{threshold.score or 0:.1%}"
        value = "unreachable: all unsure" if threshold.score is None else score
        rows.append((f"threshold, target error rate {threshold.risk:.1%}", value))
    return _table(f"calibration{_lengths(group)}", rows)


def _lengths(group: LengthGroup | SelectiveGroup) -> str:
    if group.max_tokens is not None:
        return f", {group.name} (up to {group.max_tokens} tokens)"
    return "" if group.name == "all" else f", {group.name}"


def _metrics(evaluation: Evaluation) -> str:
    metrics = evaluation.metrics
    rows = [
        ("reviews", f"{metrics.reviews:,}"),
        ("accuracy", f"{metrics.accuracy:.2%}"),
        *(
            (f"accuracy, {view.name}", f"{view.accuracy.value:.2%}")
            for view in evaluation.label_views[1:]
        ),
        ("accuracy at 80% coverage", f"{evaluation.accuracy_at_80_coverage.value:.2%}"),
        ("macro-F1", f"{metrics.macro_f1:.2%}"),
        ("AUROC", "-" if metrics.auroc is None else f"{metrics.auroc:.4f}"),
        ("log-loss", f"{metrics.log_loss:.4f}"),
        ("calibration error (ECE, 15 bins)", f"{metrics.ece:.2%}"),
    ]
    if evaluation.star_mae is not None:
        rows.append(("star MAE", f"{evaluation.star_mae:.2f}"))
    return _table("", rows)


def _confusion(metrics: ClassificationMetrics) -> str:
    width = max(9, *map(len, metrics.labels))
    columns = " ".join(f"{label:>{width}}" for label in metrics.labels)
    lines = [f"{'true / predicted':<{width + 10}} {columns}"]
    for label, counts in zip(metrics.labels, metrics.confusion, strict=True):
        lines.append(f"{label:<{width + 10}} " + " ".join(f"{n:>{width},}" for n in counts))
    return "\n".join(lines)


def _explanations(quality: ExplanationQuality) -> str:
    deletion, found, stability = quality.deletion, quality.counterfactuals, quality.stability
    rows = [
        ("reviews explained", f"{quality.reviews:,}"),
        ("log-odds change: heaviest sentence", f"{deletion.heaviest:.2f}"),
        ("log-odds change: random sentence of similar length", f"{deletion.random:.2f}"),
        ("ratio", f"{deletion.ratio:.1f}" if deletion.ratio else "-"),
        ("reviews with a counterfactual", str(found.found)),
        ("sentences in it, median", f"{median(found.sizes):g}" if found.sizes else "-"),
        ("with typos: same label", str(stability.same_label)),
        ("with typos: same heaviest sentence", str(stability.same_heaviest)),
        ("with typos: rank correlation, median", f"{stability.correlation:.2f}"),
    ]
    shares = ", ".join(f"{share:.0%}" for share in DELETION_SHARES)
    for ranking in quality.rankings:
        for name in ("comprehensiveness", "sufficiency"):
            lost = "  ".join(f"{value:+.3f}" for value in getattr(ranking, name))
            rows.append((f"{name} at {shares}: {ranking.name}", lost))
    return _table("explanations", rows)


def _behaviours(behaviours: Behaviours) -> Iterator[str]:
    rows = [(row.name, _with_target(row.errors, row.target)) for row in behaviours.errors]
    yield _table("errors on sentences that test one behaviour", rows)
    if behaviours.neutral:
        rows = [(row.name, str(row.unsure)) for row in behaviours.neutral]
        yield _table('"unsure" on sentences without an opinion', rows)


def _by_length(title: str, groups: Sequence[SelectiveGroup]) -> list[str]:
    return [_selective(f"{title}{_lengths(group)}", group.results) for group in groups]


def _selective(title: str, results: Sequence[SelectiveResult]) -> str:
    rows = []
    for row in results:
        text = f"coverage {row.coverage.value:.1%}, selective error {row.selective_error.value:.2%}"
        if not row.reachable:
            text = "unreachable: all unsure"
        elif not row.coverage.count:
            text = "all unsure"
        rows.append((f"target error rate {row.risk:.1%}", text))
    return _table(title, rows)


def _with_target(share: Share, target: float | None) -> str:
    return str(share) if target is None else f"{share}, target at most {target:.0%}"


def _table(title: str, rows: _Rows) -> str:
    width = max(len(name) for name, _ in rows)
    lines = [f"{name:<{width}}  {value}" for name, value in rows]
    return "\n".join([title, *lines] if title else lines)
