"""How well a score separates two samples, and how two scores go together: ROC curves, the area
under them (AUC) with bootstrap intervals, correlations with intervals."""
import functools

import numpy as np

REPLICATES, SEED = 2000, 0
NORMAL = 1.959963984540054  # two-sided 95 %


def placements(positive, negative):
    """AUC of positive (n) against negative (m) scores through its terms: for each positive the
    fraction of negatives below it (n), for each negative the fraction of positives above it
    (m), ties counted half. The AUC is the mean of either."""
    def fraction_below(values, others):
        others = np.sort(others)
        below = np.searchsorted(others, values, "left") + np.searchsorted(others, values, "right")
        return below / (2 * len(others))
    return fraction_below(positive, negative), 1 - fraction_below(negative, positive)


def roc(positive, negative):
    """The ROC curve: false and true positive rate at every threshold, from (0, 0) to (1, 1)."""
    scores = np.concatenate([positive, negative])
    finite = np.unique(scores[np.isfinite(scores)])[::-1]
    thresholds = np.concatenate([[np.inf], finite, [-np.inf]])
    rate = [1 - np.searchsorted(np.sort(part), thresholds, "left") / len(part)
            for part in (negative, positive)]
    infinite = [np.mean(np.isposinf(part)) for part in (negative, positive)]
    rate = [np.concatenate([[0], np.where(np.isposinf(thresholds), share, part)])
            for part, share in zip(rate, infinite)]
    return rate[0], rate[1]


@functools.lru_cache(maxsize=16)
def resamples(n, stream):
    """Share of each of n inputs in each of the bootstrap's resamples: (REPLICATES, n)."""
    rng = np.random.default_rng([SEED, stream, n])
    return (rng.multinomial(n, np.full(n, 1 / n), REPLICATES) / n).astype(np.float32)


def bootstrap(above, below):
    """AUC of every score in every resample, (REPLICATES, score), from placements
    above (score, n) and below (score, m).

    Both samples are drawn anew; of the AUC's expansion in the two the first-order terms are
    kept, those of both together, of order 1/n, are left out: then a resample is a product.
    """
    auc = above.mean(axis=1)
    return (auc + resamples(above.shape[1], 0) @ (above.T - auc).astype(np.float32) +
            resamples(below.shape[1], 1) @ (below.T - auc).astype(np.float32))


def interval(samples):
    """The 95 % percentile interval over the first axis: (2, ...)."""
    return np.percentile(samples, (2.5, 97.5), axis=0)


def ranks(values):
    """Ranks from 1, ties their mean."""
    _, where, counts = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts - 1) / 2)[where]


def correlation(x, y):
    """Pearson's correlation; NaN where one does not vary."""
    x, y = x - x.mean(), y - y.mean()
    norm = np.sqrt((x @ x) * (y @ y))
    return x @ y / norm if norm > 0 else np.nan


def spearman(x, y):
    """Spearman's correlation and its 95 % interval, by Fisher's z with the standard error of
    Bonett and Wright (2000)."""
    r = correlation(ranks(x), ranks(y))
    return r, *fisher(r, (1 + r * r / 2) / max(1, len(x) - 3))


def pearson_of_logs(x, y):
    """Pearson's correlation of the logarithms and its 95 % interval by Fisher's z, of the
    inputs where both are positive and finite."""
    there = (x > 0) & (y > 0) & np.isfinite(x) & np.isfinite(y)
    if np.count_nonzero(there) < 4:
        return np.nan, np.nan, np.nan
    r = correlation(np.log(x[there]), np.log(y[there]))
    return r, *fisher(r, 1 / (np.count_nonzero(there) - 3))


def fisher(r, variance):
    """Interval of a correlation whose z has this variance."""
    z = np.arctanh(np.clip(r, -1 + 1e-12, 1 - 1e-12))
    return tuple(np.tanh(z + sign * NORMAL * np.sqrt(variance)) for sign in (-1, 1))
