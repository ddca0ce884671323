"""Reads a scrape in both forms with the parsers of Prometheus' own Python library and prints the samples.

python scrape.py '{"url": "http://127.0.0.1:9189/metrics"}'
Prints {"prometheus": {"name{label=value}": number}, "open_metrics": {..}, "types": {"name": type in the older form}}.
"""

import json
import sys
import urllib.request

from prometheus_client import parser
from prometheus_client.openmetrics import parser as openmetrics


def fetch(url, accept):
    request = urllib.request.Request(url, headers={"Accept": accept})
    with urllib.request.urlopen(request, timeout=10) as answer:
        return answer.headers["Content-Type"], answer.read().decode()


def samples(families):
    found = {}
    for family in families:
        for sample in family.samples:
            labels = ",".join(f"{name}={value}" for name, value in sorted(sample.labels.items()))
            key = f"{sample.name}{{{labels}}}" if labels else sample.name
            assert key not in found, f"{key} stands twice"
            found[key] = sample.value
    return found


def main():
    url = json.loads(sys.argv[1])["url"]
    kind, text = fetch(url, "text/plain")
    assert kind.startswith("text/plain; version=0.0.4"), kind
    families = list(parser.text_string_to_metric_families(text))
    older, types = samples(families), {family.name: family.type for family in families}
    kind, text = fetch(url, "application/openmetrics-text; version=1.0.0")
    assert kind.startswith("application/openmetrics-text"), kind
    newer = samples(openmetrics.text_string_to_metric_families(text))
    print(json.dumps({"prometheus": older, "open_metrics": newer, "types": types}))


main()
