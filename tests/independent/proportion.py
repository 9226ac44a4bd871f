"""Writes tests/vectors/proportion/intervals.json: intervals for a share that stay valid however often one looks.

The mixture of likelihoods is computed by integration, not by the gamma function that the core uses. With q = sin(t)^2, the density of
Beta(1/2, 1/2) is uniform in the angle t, and the likelihood of n outcomes is a trigonometric polynomial of degree n in 2t, whose mean
over more than n evenly spaced angles is its integral. Needs nothing except Python.

    python3 tests/independent/proportion.py > tests/vectors/proportion/intervals.json
"""

import json
import math

COUNTS = [
    (0, 0), (1, 0), (1, 1), (2, 1), (10, 0), (10, 3), (20, 20), (100, 0), (100, 1), (100, 50), (990, 10), (1000, 0),
    (1000, 999), (5000, 250), (10000, 0), (10000, 7), (10000, 5000), (200000, 3), (200000, 199000),
]  # fmt: skip
CONFIDENCES = [0.5, 0.95, 0.999]


def log_likelihood(bad, good, share):
    bads = bad * math.log(share) if bad else 0.0
    return bads + (good * math.log1p(-share) if good else 0.0)


def log_mixture(bad, good):
    nodes = 2 * (bad + good) + 8
    angles = ((i + 0.5) * math.pi / 2 / nodes for i in range(nodes))
    logs = [log_likelihood(bad, good, math.sin(angle) ** 2) for angle in angles]
    top = max(logs)
    return top + math.log(math.fsum(math.exp(log - top) for log in logs) / nodes)


def border(bad, good, mixture, enough, fits, fails):
    for _ in range(200):
        middle = (fits + fails) / 2
        if mixture - log_likelihood(bad, good, middle) < enough:
            fits = middle
        else:
            fails = middle
    return fails


def intervals():
    for observed, bad in COUNTS:
        good = observed - bad
        mixture = log_mixture(bad, good)
        share = bad / observed if observed else 0.5
        for confidence in CONFIDENCES:
            enough = -math.log(1 - confidence)
            low = border(bad, good, mixture, enough, share, 0.0) if bad else 0.0
            high = border(bad, good, mixture, enough, share, 1.0) if good else 1.0
            yield {"observed": observed, "bad": bad, "confidence": confidence, "low": low, "high": high}


print("{\"intervals\": [")
print(",\n".join(f"  {json.dumps(interval)}" for interval in intervals()))
print("]}")
