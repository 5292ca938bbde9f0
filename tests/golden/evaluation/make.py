"""Makes metrics.json: what scikit-learn says about fixed labels and scores.

Run with scikit-learn >= 1.5 installed:  python tests/golden/evaluation/make.py
"""
import json
import pathlib

import numpy as np
from sklearn import calibration, metrics


def binary(name, labels, scores, threshold=0.5):
    labels = np.asarray(labels, dtype=float)
    scores = np.asarray(scores, dtype=float)
    predicted = (scores >= threshold).astype(float)
    tn, fp, fn, tp = metrics.confusion_matrix(labels, predicted, labels=[0, 1]).ravel()
    rate, mean_score = calibration.calibration_curve(labels, scores, n_bins=10)
    bins = np.minimum((scores * 15).astype(int), 14)
    ece = sum(abs((scores - labels)[bins == b].sum()) for b in range(15)) / len(labels)
    order = np.argsort(scores, kind="stable")
    n = len(labels)
    adaptive = sum(abs((scores - labels)[order[n * b // 15:n * (b + 1) // 15]].sum()) for b in range(15)) / n
    return {
        "name": name, "labels": labels.tolist(), "scores": scores.tolist(), "threshold": threshold,
        "auc": metrics.roc_auc_score(labels, scores), "log_loss": metrics.log_loss(labels, scores),
        "brier": metrics.brier_score_loss(labels, scores), "ece": ece, "adaptive_ece": adaptive,
        "accuracy": metrics.accuracy_score(labels, predicted), "precision": metrics.precision_score(labels, predicted),
        "recall": metrics.recall_score(labels, predicted), "f1": metrics.f1_score(labels, predicted),
        "confusion": [int(tn), int(fp), int(fn), int(tp)],
        "calibration": {"rate": rate.tolist(), "mean_score": mean_score.tolist()},
    }


def regression(name, labels, predictions):
    return {
        "name": name, "labels": labels.tolist(), "predictions": predictions.tolist(),
        "rmse": float(np.sqrt(metrics.mean_squared_error(labels, predictions))),
        "mae": metrics.mean_absolute_error(labels, predictions), "r2": metrics.r2_score(labels, predictions),
    }


rng = np.random.default_rng(20130401)
smooth = rng.beta(2, 5, 400)
tied = np.round(rng.beta(2, 4, 300), 1)
extreme = np.where(rng.random(200) < 0.5, 0.0, 1.0)
calibrated = rng.random(300)
truth = rng.normal(10, 3, 200)
golden = {
    "binary": [
        binary("smooth scores", rng.random(400) < smooth, smooth, 0.3),
        binary("many ties", rng.random(300) < np.clip(tied + 0.1, 0, 1), tied, 0.4),
        binary("certain scores, clipped", rng.random(200) < 0.2 + 0.6 * extreme, extreme),
        binary("calibrated", rng.random(300) < calibrated, calibrated),
        binary("two rows", [0, 1], [0.4, 0.6]),
    ],
    "regression": [regression("noise", truth, truth + rng.normal(0, 1, 200)),
                   regression("worse than the mean", truth, rng.normal(10, 6, 200))],
}
path = pathlib.Path(__file__).with_name("metrics.json")
path.write_text(json.dumps(golden) + "\n")
