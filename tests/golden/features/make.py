"""Writes transforms.json: what scikit-learn's transformers make of the same columns.

    python tests/golden/features/make.py

Each case has a chain as slipway declares it, a column to fit on, one to transform, a target where one is needed, and
scikit-learn's numbers row by row. Needs numpy, scipy, scikit-learn and tzdata.
"""

import json
import pathlib
import warnings
from datetime import datetime, timezone
from zoneinfo import ZoneInfo

import numpy as np
from scipy import stats
from sklearn.feature_extraction import FeatureHasher
from sklearn.feature_extraction.text import HashingVectorizer, TfidfVectorizer
from sklearn.feature_selection import VarianceThreshold, mutual_info_classif
from sklearn.impute import SimpleImputer
from sklearn.preprocessing import (
    KBinsDiscretizer,
    MinMaxScaler,
    OneHotEncoder,
    OrdinalEncoder,
    PolynomialFeatures,
    PowerTransformer,
    QuantileTransformer,
    RobustScaler,
    StandardScaler,
)
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

warnings.filterwarnings("ignore")
random = np.random.default_rng(7)
train = np.round(random.gamma(2.0, 15.0, 400) - 12, 3)
train[random.random(400) < 0.08] = np.nan
serve = np.concatenate([np.round(random.gamma(2.0, 15.0, 40) - 12, 3), [np.nan, -500.0, 0.0, 900.0], train[:20]])
labels = (random.random(400) < 1 / (1 + np.exp(-(np.nan_to_num(train, nan=10) - 20) / 8))).astype(float)
amounts = np.round(np.nan_to_num(train, nan=10) ** 2 / 50 + random.normal(0, 1, 400), 3)
words = "late early on time delayed by weather crew Übermüdet 日本 snow ice gate change late again".split()
texts = [" ".join(random.choice(words, random.integers(1, 9))) for _ in range(120)] + ["", "a b c", "Late, LATE; late!"]
towns = [f"T{int(random.integers(0, 30) * random.random())}" for _ in range(200)]


def numbers(values):
    return [None if np.isnan(v) else float(v) for v in values]


def rows(matrix):
    matrix = matrix.toarray() if hasattr(matrix, "toarray") else np.asarray(matrix, dtype=float)
    return [numbers(row) for row in matrix.reshape(len(matrix), -1)]


cases = []


def numeric(name, chain, transformer, target=None, tolerance=1e-6, fit_on=train):
    made = transformer.fit(fit_on.reshape(-1, 1), *([] if target is None else [target])).transform(serve.reshape(-1, 1))
    cases.append(
        {
            "name": name,
            "chain": chain,
            "type": "float64",
            "train": numbers(fit_on),
            "serve": numbers(serve),
            "target": [] if target is None else numbers(target),
            "want": rows(made),
            "tolerance": tolerance,
        }
    )


numeric("impute mean", [{"impute": "mean"}], SimpleImputer(strategy="mean"))
numeric("impute median", [{"impute": {"strategy": "median", "indicator": True}}], SimpleImputer(strategy="median", add_indicator=True))
numeric("impute most frequent", [{"impute": "most_frequent"}], SimpleImputer(strategy="most_frequent"), fit_on=np.round(train))
numeric("standardize", ["standardize"], StandardScaler())
numeric("minmax", [{"minmax": {"low": -1, "high": 2}}], MinMaxScaler((-1, 2)))
numeric("minmax clipped", [{"minmax": {"clip": True}}], MinMaxScaler(clip=True))
numeric("robust", ["robust"], RobustScaler())
numeric("robust 10 to 90", [{"robust": {"low_quantile": 0.1, "high_quantile": 0.9}}], RobustScaler(quantile_range=(10, 90)))
for to in ("uniform", "normal"):
    transformer = QuantileTransformer(n_quantiles=50, output_distribution=to, subsample=None)
    numeric(f"quantile {to}", [{"quantile": {"quantiles": 50, "to": to}}], transformer, tolerance=1e-5)
    transformer = QuantileTransformer(n_quantiles=1000, output_distribution=to, subsample=None)
    numeric(f"quantile {to}, ties", [{"quantile": {"to": to}}], transformer, tolerance=1e-5, fit_on=np.round(train / 10))
numeric("power", ["power"], PowerTransformer(), tolerance=2e-5)
numeric("power, not standardized", [{"power": {"standardize": False}}], PowerTransformer(standardize=False), tolerance=2e-4)


class Bins:
    """A KBinsDiscretizer or a tree's leaves, with missing values kept."""

    def __init__(self, edges):
        self.edges = edges

    def fit(self, x, *target):
        known = ~np.isnan(x[:, 0])
        self.found = self.edges(x[known], *[t[known] for t in target])
        return self

    def transform(self, x):
        return np.where(np.isnan(x), np.nan, np.searchsorted(self.found, x, side="right"))


def kbins(strategy):
    def edges(x):
        settings = {"quantile_method": "linear"} if strategy == "quantile" else {}
        return KBinsDiscretizer(8, encode="ordinal", strategy=strategy, subsample=None, **settings).fit(x).bin_edges_[0][1:-1]

    return Bins(edges)


def leaves(tree):
    def edges(x, y):
        fitted = tree.fit(x, y)
        return np.sort(fitted.tree_.threshold[fitted.tree_.feature >= 0])

    return Bins(edges)


halves = np.round(train * 4) / 4  # exact as 32-bit floats, which scikit-learn's trees compare
numeric("bins of equal counts", [{"bins": 8}], kbins("quantile"))
numeric("bins of equal width", [{"bins": {"bins": 8, "by": "width"}}], kbins("uniform"))
numeric("bins by a classification tree", [{"bins": {"bins": 6, "by": "tree", "min_rows": 15}}],
        leaves(DecisionTreeClassifier(max_leaf_nodes=6, min_samples_leaf=15, random_state=0)), target=labels, fit_on=halves)
numeric("bins by a regression tree", [{"bins": {"bins": 9, "by": "tree"}}],
        leaves(DecisionTreeRegressor(max_leaf_nodes=9, random_state=0)), target=amounts, fit_on=halves)


class Winsorized:
    def fit(self, x):
        self.low, self.high = np.nanquantile(x, [0.05, 0.95])
        return self

    def transform(self, x):
        return np.clip(x, self.low, self.high)


numeric("winsorize", [{"winsorize": 0.05}], Winsorized())


def categories(name, chain, want, serve_on, kind="text", fit_on=None, tolerance=1e-6):
    cases.append(
        {
            "name": name,
            "chain": chain,
            "type": kind,
            "train": towns if fit_on is None else fit_on,
            "serve": serve_on,
            "target": [],
            "want": rows(want),
            "tolerance": tolerance,
        }
    )


seen = towns[:60]
column = np.array(towns).reshape(-1, 1)
unseen = np.array(seen + ["elsewhere"]).reshape(-1, 1)
categories("one-hot", [{"onehot": {"unknown": "zeros"}}], OneHotEncoder(handle_unknown="ignore").fit(column).transform(unseen), seen + ["elsewhere"])
categories("one-hot, rare in one", [{"onehot": {"min_share": 0.05}}],
           OneHotEncoder(min_frequency=0.05, handle_unknown="infrequent_if_exist").fit(column).transform(unseen), seen + ["elsewhere"])
categories("ordinal", ["ordinal"], OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=np.nan).fit(column).transform(unseen), seen + ["elsewhere"])
categories("frequency", ["frequency"], [[towns.count(t) / len(towns)] for t in seen] + [[0]], seen + ["elsewhere"])
categories("hash", [{"hash": 16}], FeatureHasher(16, input_type="string").transform([[t] for t in seen]), seen)
categories("hash of integers", [{"hash": {"buckets": 11, "sign": False}}],
           FeatureHasher(11, input_type="string", alternate_sign=False).transform([[str(i * 7919 - 100)] for i in range(40)]),
           [i * 7919 - 100 for i in range(40)], kind="int64", fit_on=[1, 2])
for name, ours, theirs in (
    ("words", {"ngrams": [1, 2]}, {"ngram_range": (1, 2)}),
    ("characters", {"analyzer": "chars", "ngrams": 3}, {"analyzer": "char", "ngram_range": (3, 3)}),
    ("characters in words", {"analyzer": "chars_in_words", "ngrams": [2, 4]}, {"analyzer": "char_wb", "ngram_range": (2, 4)}),
):
    odd = [*texts[:40], "", "x", "  two  spaces\tand a tab \n", "Straße naïve 日本航空 №5", "under_score 42 4"]
    categories(f"hashed {name}", [{"text_hash": {"buckets": 64, **ours}}], HashingVectorizer(n_features=64, **theirs).transform(odd), odd, fit_on=texts)
    vectorizer = TfidfVectorizer(min_df=2, **theirs).fit(texts)
    categories(f"tf-idf of {name}", [{"tfidf": {"max_terms": 4000, **ours}}], vectorizer.transform(odd), odd, fit_on=texts)
vectorizer = TfidfVectorizer(min_df=2, sublinear_tf=True, norm=None).fit(texts)
categories("tf-idf, sublinear", [{"tfidf": {"sublinear": True, "normalize": False}}], vectorizer.transform(texts), texts, fit_on=texts, tolerance=1e-5)

zones = []
for zone in ("America/New_York", "Europe/Berlin", "Australia/Lord_Howe", "Asia/Kathmandu", "Africa/Casablanca", "Pacific/Apia"):
    moments = [int(s) for s in random.integers(-2_000_000_000, 4_000_000_000, 60)]
    moments += [1362898799, 1362898800, 1383458399, 1383458400, 1383454800, 2152422000, 3000000000]
    want = []
    for moment in moments:
        local = datetime.fromtimestamp(moment, timezone.utc).astimezone(ZoneInfo(zone))
        want.append([local.year, local.month, local.day, local.hour, local.minute])
    zones.append({"zone": zone, "seconds": moments, "want": want})

a, b, c = (np.round(random.normal(0, 3, 30), 2) for _ in range(3))
polynomial = PolynomialFeatures(3, include_bias=False)
interactions = PolynomialFeatures(3, include_bias=False, interaction_only=True)
table = np.column_stack([a, b, c])
products = {
    "a": numbers(a),
    "b": numbers(b),
    "c": numbers(c),
    "all": rows(polynomial.fit_transform(table)),
    "names": [name.replace(" ", "*") for name in polynomial.get_feature_names_out(["a", "b", "c"])],
    "interactions": rows(interactions.fit_transform(table)),
}

levels = np.column_stack([random.integers(0, k, 500) for k in (2, 3, 5, 1, 9)]).astype(float)
levels[:, 2] = np.where(random.random(500) < 0.6, labels[np.arange(500) % 400] * 2, levels[:, 2])
classes = labels[np.arange(500) % 400]
selection = {
    "columns": [numbers(column) for column in levels.T],
    "target": numbers(classes),
    "mutual_information": numbers(mutual_info_classif(levels, classes, discrete_features=True)),
    "variance": numbers(VarianceThreshold().fit(levels).variances_),
}
shares = [1e-9, 1e-7, 1e-3, 0.02425, 0.075, 0.3, 0.5, 0.77, 0.9, 0.999, 1 - 1e-9]
deviates = {"shares": shares, "want": numbers(stats.norm.ppf(shares))}

out = pathlib.Path(__file__).with_name("transforms.json")
document = {"cases": cases, "zones": zones, "products": products, "selection": selection, "deviates": deviates}
out.write_text(json.dumps(document, ensure_ascii=False, separators=(",", ":"), allow_nan=False) + "\n")
print(f"{len(cases)} cases, {out.stat().st_size // 1024} KiB")
