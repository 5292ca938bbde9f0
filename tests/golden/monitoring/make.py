"""Makes drift.json: what SciPy says about fixed counts.

Run with SciPy >= 1.11 installed:  python tests/golden/monitoring/make.py
"""
import json
import pathlib

import numpy as np
from scipy import stats
from scipy.spatial import distance


def two_samples(name, reference, window):
    reference, window = np.array(reference), np.array(window)
    p, q = reference / reference.sum(), window / window.sum()
    ks = np.abs(np.cumsum(p) - np.cumsum(q)).max()
    n, m = reference.sum(), window.sum()
    root = np.sqrt(n * m / (n + m))
    present = (reference + window) > 0
    chi2 = stats.chi2_contingency(np.array([reference[present], window[present]]), correction=False)
    return {"name": name, "reference": reference.tolist(), "window": window.tolist(),
            "js": float(distance.jensenshannon(p, q, base=2)), "tv": float(np.abs(p - q).sum() / 2), "ks": float(ks),
            "ks_p": float(stats.kstwobign.sf((root + 0.12 + 0.11 / root) * ks)),
            "chi2": float(chi2.statistic), "chi2_p": float(chi2.pvalue)}


def shares(hits_r, rows_r, hits_w, rows_w, exact):
    table = np.array([[hits_r, rows_r - hits_r], [hits_w, rows_w - hits_w]])
    p = stats.fisher_exact(table)[1] if exact else stats.chi2_contingency(table, correction=False).pvalue
    return {"counts": [hits_r, rows_r, hits_w, rows_w], "p": float(p)}


p_values = [0.001, 0.04, 0.03, 0.2, 0.9, 0.012, 0.5, 0.0004]
golden = {
    "two_samples": [
        two_samples("same", [100, 200, 300], [50, 100, 150]),
        two_samples("small shift", [1000, 2000, 3000, 4000], [120, 210, 310, 360]),
        two_samples("large shift", [500, 300, 200], [100, 200, 700]),
        two_samples("an empty bin", [500, 300, 200, 0], [480, 310, 190, 20]),
        two_samples("many rows", [100000, 200000, 300000], [10100, 20300, 29600]),
    ],
    "shares": [
        shares(100, 10000, 150, 10000, False),
        shares(0, 50000, 3, 1000, True),
        shares(2, 80000, 4, 6000, True),
        shares(1, 100, 0, 50, True),
        shares(3000, 60000, 260, 5000, False),
    ],
    "chi_square_tail": [[x, k, float(stats.chi2.sf(x, k))] for x, k in
                        [(0.5, 1), (3.84, 1), (10, 3), (100, 80), (60, 80), (500, 100), (1e-6, 2), (300, 2)]],
    "p": p_values,
    "benjamini_hochberg": stats.false_discovery_control(p_values).tolist(),
}
path = pathlib.Path(__file__).with_name("drift.json")
path.write_text(json.dumps(golden, indent=1) + "\n")
