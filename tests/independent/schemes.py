"""The independent oracle for the bucketing of other products.

Reads one JSON object from standard input, `{"suites": [{"bucketing": {...}, "strategy": {...} or null, "units": ["...", ...]}]}`,
worded as in the rollout document, and writes `{"suites": [{"oracle": "...", "results": [[bucket, version], ...]}]}`: for each unit
the product's own bucket number (null where its SDK tells none) and the version that it assigns (null for none of them).

Nothing here knows a formula. Each scheme is translated into a configuration of the product's own Python SDK, offline, and that SDK
decides. Versions are given to it by their position, because some products reserve names ("control", "disabled"). The wording of the
document itself is not checked: what a product could not be told raises an error.
"""

import json
import logging
import sys
from importlib.metadata import version as package_version


def ab_test(strategy):
    """The weights of an `ab_test` in order, and its percent."""
    test = strategy["ab_test"]
    return [arm["weight"] for arm in test["arms"]], test.get("percent", 100)


def versions(bucketing, strategy):
    """The versions in the order in which the product is told of them."""
    if bucketing["scheme"] == "optimizely":
        return [entry["version"] for entry in bucketing["allocation"]]
    if "canary" in strategy:
        return [strategy["canary"]["version"]]
    return [arm["version"] for arm in strategy["ab_test"]["arms"]]


def must_be_whole_rollout(scheme, number):
    if number != 100:
        raise ValueError(f"{scheme} has no percent beside the weights")


def unleash(bucketing, strategy):
    from yggdrasil_engine.engine import UnleashEngine

    engine = UnleashEngine()
    weights, rollout = ab_test(strategy) if "ab_test" in strategy else ([], strategy["canary"]["percent"])
    if rollout != int(rollout):
        raise ValueError("unleash rolls out to whole percents only")
    rule = {
        "name": "flexibleRollout",
        "parameters": {"rollout": str(int(rollout)), "stickiness": "userId", "groupId": bucketing["group_id"]},
        "constraints": [],
        "variants": [
            {"name": str(place), "weight": weight, "stickiness": "userId"} for place, weight in enumerate(weights)
        ],
    }
    toggle = {"name": "toggle", "enabled": True, "strategies": [rule]}
    engine.take_state(json.dumps({"version": 2, "features": [toggle]}))

    def decide(unit):
        context = {"userId": unit}
        if not weights:
            return None, 0 if engine.check_enabled("toggle", context).is_enabled else None
        variant = engine.check_variant("toggle", context).variant
        return None, int(variant.name) if variant.enabled else None

    return "yggdrasil-engine", decide


def optimizely(bucketing, strategy):
    from optimizely.bucketer import Bucketer
    from optimizely.optimizely import Optimizely

    if strategy is not None:
        raise ValueError("optimizely takes no strategy, the allocation decides")
    experiment_id, allocation = bucketing["experiment_id"], bucketing["allocation"]
    places = [place for place, entry in enumerate(allocation) if entry["version"] is not None]
    experiment = {
        "id": experiment_id,
        "key": "experiment",
        "status": "Running",
        "layerId": "layer",
        "audienceIds": [],
        "forcedVariations": {},
        "variations": [{"id": str(place), "key": str(place)} for place in places],
        "trafficAllocation": [
            {"entityId": str(place) if place in places else "", "endOfRange": entry["end"]}
            for place, entry in enumerate(allocation)
        ],
    }
    empty = ("groups", "audiences", "attributes", "events", "rollouts", "featureFlags")
    datafile = {"version": "4", "revision": "1", "projectId": "1", "accountId": "1", "experiments": [experiment]}
    client = Optimizely(datafile=json.dumps(datafile | {name: [] for name in empty}))
    bucketer = Bucketer()

    def decide(unit):
        bucket = bucketer._generate_bucket_value(unit + experiment_id)
        variation = client.get_variation("experiment", unit)
        return bucket, None if variation is None else int(variation)

    return "optimizely-sdk", decide


def split(bucketing, strategy):
    from splitio.engine.evaluator import EvaluationContext, Evaluator
    from splitio.engine.splitters import Splitter
    from splitio.models.splits import HashAlgorithm, from_raw

    weights, traffic = ab_test(strategy)
    seed, gate = bucketing["seed"], bucketing.get("traffic_allocation_seed")
    everybody = {"combiner": "AND", "matchers": [{"matcherType": "ALL_KEYS", "negate": False}]}
    partitions = [{"treatment": str(place), "size": size} for place, size in enumerate(weights)]
    flag = from_raw({
        "name": "flag",
        "seed": seed,
        "algo": HashAlgorithm.MURMUR.value,
        "trafficAllocation": 100 if gate is None else traffic,
        "trafficAllocationSeed": gate,
        "killed": False,
        "status": "ACTIVE",
        "defaultTreatment": "default",
        "trafficTypeName": "user",
        "changeNumber": 1,
        "conditions": [
            {"conditionType": "ROLLOUT", "matcherGroup": everybody, "partitions": partitions, "label": "everybody"}
        ],
    })
    splitter = Splitter()
    evaluator, context = Evaluator(splitter), EvaluationContext({"flag": flag}, {}, {})

    def decide(unit):
        treatment = evaluator.eval_with_context(unit, None, "flag", {}, context)["treatment"]
        return splitter.get_bucket(unit, seed, HashAlgorithm.MURMUR), None if treatment == "default" else int(treatment)

    return "splitio-client", decide


def flagd_v2(bucketing, strategy):
    from openfeature.contrib.tools.flagd.core.flagd_core import FlagdCore
    from openfeature.evaluation_context import EvaluationContext

    weights, rollout = ab_test(strategy)
    must_be_whole_rollout("flagd-v2", rollout)
    arms = [[str(place), weight] for place, weight in enumerate(weights)]
    flag = {
        "state": "ENABLED",
        "variants": {"default": "default"} | {name: name for name, _ in arms},
        "defaultVariant": "default",
        "targeting": {"fractional": [{"cat": [bucketing["prefix"], {"var": "targetingKey"}]}, *arms]},
    }
    core = FlagdCore()
    core.set_flags({"flags": {"flag": flag}})

    def decide(unit):
        value = core.resolve_string_value("flag", "default", EvaluationContext(unit)).value
        return None, None if value == "default" else int(value)

    return "openfeature-flagd-core", decide


def growthbook_v2(bucketing, strategy):
    from growthbook import Experiment, GrowthBook
    from growthbook.core import gbhash

    weights, coverage = ab_test(strategy)
    seed, client = bucketing["seed"], GrowthBook()
    shares = [weight / sum(weights) for weight in weights]
    coverage = round(coverage * 10_000) / 1_000_000  # the double nearest to the share of 1, as GrowthBook would store it

    def decide(unit):
        client.set_attributes({"id": unit})
        # A run may change the experiment, so each gets its own. With fewer than two variations there is no experiment.
        result = client.run(Experiment(
            key="experiment", seed=seed, hashVersion=2, variations=list(range(len(shares))), weights=shares,
            coverage=coverage,
        ))
        return round(gbhash(seed, unit, 2) * 10_000), result.variationId if result.inExperiment else None

    return "growthbook", decide


def featurevisor(bucketing, strategy):
    from featurevisor import create_featurevisor
    from featurevisor.bucketer import get_bucketed_number

    if "canary" in strategy:
        shares = [round(strategy["canary"]["percent"] * 10_000) / 10]
    else:
        shares, rollout = ab_test(strategy)
        must_be_whole_rollout("featurevisor", rollout)
    # As Featurevisor's builder allocates: side by side, each range ending where the next one starts, empty ones left out.
    allocation, end = [], 0
    for place, share in enumerate(shares):
        start, end = end, end + share
        if share:
            allocation.append({"variation": str(place), "range": [start, end]})
    name = bucketing["feature"]
    feature = {
        "key": name,
        "bucketBy": "userId",
        "variations": [{"value": str(place)} for place in range(len(shares))],
        "traffic": [{"key": "everybody", "segments": "*", "percentage": end, "allocation": allocation}],
    }
    datafile = {"schemaVersion": "2", "revision": "1", "segments": {}, "features": {name: feature}}
    instance = create_featurevisor({"datafile": datafile, "logLevel": "fatal"})

    def decide(unit):
        variation = instance.get_variation(name, {"userId": unit})
        return get_bucketed_number(f"{unit}.{name}"), None if variation is None else int(variation)

    return "featurevisor", decide


SCHEMES = {
    "unleash": unleash,
    "optimizely": optimizely,
    "split": split,
    "flagd-v2": flagd_v2,
    "growthbook-v2": growthbook_v2,
    "featurevisor": featurevisor,
}


def answer(suite):
    bucketing, strategy = suite["bucketing"], suite["strategy"]
    package, decide = SCHEMES[bucketing["scheme"]](bucketing, strategy)
    names, results = versions(bucketing, strategy), []
    for unit in suite["units"]:
        bucket, place = decide(unit)
        results.append([bucket, None if place is None else names[place]])
    return {"oracle": f"{package} {package_version(package)}", "results": results}


def main():
    logging.disable(logging.CRITICAL)  # an SDK may warn once for each unit
    suites = json.load(sys.stdin.buffer)["suites"]
    json.dump({"suites": [answer(suite) for suite in suites]}, sys.stdout)


if __name__ == "__main__":
    main()
