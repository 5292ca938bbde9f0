// A declaration in which every transform stands, over the columns of odd_rows.h.
#pragma once

namespace slipway::test {

inline const char* const kEveryTransform = R"json([
  {"columns": ["temp", "gust"], "apply": [{"impute": {"strategy": "median", "indicator": true}},
                                          {"clip": {"low_quantile": 0.01, "high_quantile": 0.99}}, "standardize"]},
  {"columns": "temp", "suffix": "_raw", "apply": ["log1p"]},
  {"columns": "gust", "suffix": "_bin", "apply": [{"bucketize": 7}, {"onehot": {"unknown": "zeros"}}]},
  {"columns": "dist", "apply": ["passthrough"]},
  {"columns": "dist", "suffix": "_w", "apply": [{"bucketize": {"bins": 5, "by": "width"}}]},
  {"columns": "carrier", "apply": [{"onehot": {"min_share": 0.02, "unknown": "bucket"}}]},
  {"columns": "carrier", "suffix": "_o", "apply": [{"impute": "most_frequent"}, "ordinal", {"impute": -1}]},
  {"columns": "tail", "apply": [{"target_encode": {"smoothing": 10, "folds": 5}}, "standardize"]},
  {"columns": "month", "apply": [{"impute": {"value": 0, "indicator": true}}, "onehot"]},
  {"columns": "month", "suffix": "_t", "apply": [{"target_encode": 1}]},
  {"columns": "when", "apply": [{"datetime": {"parts": ["hour", "dow", "month", "doy", "day", "year", "minute"],
                                              "cyclical": ["hour", "dow", "month", "doy"], "zone": "+05:30"}},
                                {"impute": "mean"}]},
  {"types": "boolean", "apply": [{"impute": "most_frequent"}, "onehot"]},
  {"columns": "temp", "suffix": "_mm", "apply": [{"impute": "mean"}, {"minmax": {"low": -1, "high": 1, "clip": true}}]},
  {"columns": "temp", "suffix": "_ro", "apply": [{"winsorize": 0.02}, "robust"]},
  {"columns": "gust", "suffix": "_q", "apply": [{"quantile": {"quantiles": 100}}]},
  {"columns": "gust", "suffix": "_qn", "apply": [{"quantile": {"quantiles": 50, "to": "normal"}}]},
  {"columns": "gust", "suffix": "_p", "apply": [{"clip": {"low": -200, "high": 400}}, "power"]},
  {"columns": "dist", "suffix": "_log", "apply": [{"log": {"offset": 1, "base": "2"}}, "standardize"]},
  {"columns": "temp", "suffix": "_tree", "apply": [{"bins": {"bins": 6, "by": "tree", "min_rows": 30}}, "onehot"]},
  {"columns": "carrier", "suffix": "_fr", "apply": [{"impute": {"value": "none", "indicator": true}}, "frequency"]},
  {"columns": "tail", "suffix": "_h", "apply": [{"hash": 16}]},
  {"columns": "month", "suffix": "_h", "apply": [{"hash": {"buckets": 5, "sign": false}}]},
  {"columns": "tail", "suffix": "_th", "apply": [{"text_hash": {"analyzer": "chars_in_words", "ngrams": [1, 3], "buckets": 16}}]},
  {"columns": "carrier", "suffix": "_tf", "apply": [{"tfidf": {"analyzer": "chars", "ngrams": [1, 2], "max_terms": 20, "sublinear": true}}]},
  {"columns": "when", "suffix": "_ny", "apply": [{"datetime": {"parts": ["hour", "minute", "doy"], "cyclical": ["day"], "zone": "America/New_York"}}]},
  {"expression": "if(holiday, dist / (1 + month), gust * temp - 3) ** 2", "as": "mixed", "apply": [{"impute": "median"}, "power"]},
  {"expression": "lower(concat(trim(carrier), '/', hour(when)))", "as": "slot", "apply": [{"target_encode": 5}]},
  {"expression": "sin(gust) + log1p(abs(temp)) % 0.7", "as": "waves"},
  {"cross": ["carrier", "month", "holiday"], "apply": [{"onehot": {"min_share": 0.005}}]},
  {"polynomial": {"columns": ["temp", "gust", "month"], "degree": 3}, "apply": [{"impute": "mean"}, {"winsorize": 0.01}, "standardize"]}
])json";

}  // namespace slipway::test
