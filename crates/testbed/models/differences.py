"""Say for each row of the data set where the answers of two models differ.

Usage: python differences.py RULES REQUESTS LIVE SHADOW

RULES is the `compare` of a shadow as JSON text, REQUESTS the file of request
bodies that train.py writes, LIVE and SHADOW are host:port of two servers. Both
are asked directly for each row, so no proxy is involved. The last line is JSON:
{"rows": [[PLACE, ...], ...], "distance": [DISTANCE, ...]}, one item a row. A
PLACE is "<pointer> <kind>" as rollout_shadow_differences_total names it; a row
without one matches. DISTANCE is the largest |a - b| of its numbers.

This shares nothing with the filter. It is written from the reference: numbers
match if |a - b| <= abs_tolerance or |a - b| <= rel_tolerance * max(|a|, |b|),
in exact decimals, of the digits that the servers wrote. Headers, unordered
arrays and bodies that are not JSON do not occur here and are not supported.
"""

import json
import sys
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal, getcontext
from http.client import HTTPConnection

INFER = "/v2/models/breast-cancer/infer"
MISSING = object()


def answers(address, bodies):
    connection = HTTPConnection(address, timeout=60)
    found = []
    for body in bodies:
        connection.request(
            "POST", INFER, json.dumps(body), {"content-type": "application/json"}
        )
        response = connection.getresponse()
        text = response.read()
        if response.status != 200:
            sys.exit(f"{address} answered {response.status}: {text!r}")
        found.append(json.loads(text, parse_float=Decimal, parse_int=Decimal))
    connection.close()
    return found


class Comparison:
    def __init__(self, rules):
        rules = rules.get("json", {})
        self.ignored = [pattern.split("/") for pattern in rules.get("ignore", [])]
        self.abs = rules.get("abs_tolerance", Decimal(0))
        self.rel = rules.get("rel_tolerance", Decimal(0))
        self.places = []
        self.distance = Decimal(0)

    def is_ignored(self, path):
        return any(
            len(pattern) == len(path)
            and all(step in ("*", part) for step, part in zip(pattern, path))
            for pattern in self.ignored
        )

    def found(self, path, kind):
        pointer = "/".join("*" if part.isdigit() else part for part in path)
        place = f"{pointer} {kind}"
        if place not in self.places:
            self.places.append(place)

    def compare(self, live, shadow, path=("",)):
        if self.is_ignored(path):
            return
        if live is MISSING or shadow is MISSING:
            self.found(path, "added" if live is MISSING else "missing")
        elif type(live) is not type(shadow):
            self.found(path, "type")
        elif isinstance(live, dict):
            for name in list(live) + [name for name in shadow if name not in live]:
                here, there = live.get(name, MISSING), shadow.get(name, MISSING)
                self.compare(here, there, (*path, name))
        elif isinstance(live, list):
            for index, (here, there) in enumerate(zip(live, shadow)):
                self.compare(here, there, (*path, str(index)))
            if len(live) != len(shadow):
                self.found(path, "length")
        elif isinstance(live, Decimal):
            distance = abs(live - shadow)
            self.distance = max(self.distance, distance)
            share = self.rel * max(abs(live), abs(shadow))
            if distance > self.abs and distance > share:
                self.found(path, "number")
        elif live != shadow:
            self.found(path, "boolean" if isinstance(live, bool) else "text")


def main():
    if len(sys.argv) != 5:
        sys.exit("usage: python differences.py RULES REQUESTS LIVE SHADOW")
    getcontext().prec = 60
    rules = json.loads(sys.argv[1], parse_float=Decimal, parse_int=Decimal)
    with open(sys.argv[2], encoding="utf-8") as file:
        bodies = json.load(file)
    with ThreadPoolExecutor(2) as pool:
        live, shadow = pool.map(lambda address: answers(address, bodies), sys.argv[3:])
    rows, distances = [], []
    for here, there in zip(live, shadow, strict=True):
        comparison = Comparison(rules)
        comparison.compare(here, there)
        rows.append(comparison.places)
        distances.append(float(comparison.distance))
    print(json.dumps({"rows": rows, "distance": distances}, separators=(",", ":")))


if __name__ == "__main__":
    main()
