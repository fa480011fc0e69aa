"""A strict reader of Prometheus' text format 0.0.4, with the rules of `promtool check metrics`."""
import math
import re

NAME = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
LABEL = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")
TYPES = ("counter", "gauge", "histogram", "summary", "untyped")
UNITS_NOT_BASE = ("_milliseconds", "_microseconds", "_minutes", "_kilobytes", "_megabytes", "_percent", "_ms", "_us")


class Malformed(Exception):
    pass


def wrong(line, why):
    raise Malformed(f"{why}: {line!r}")


def read_labels(line, at):
    """({name: value}, place after the closing brace); at stands behind the opening one."""
    labels = {}
    while line[at:at + 1] != "}":
        found = LABEL.match(line, at)
        if not found:
            wrong(line, "a label's name is malformed")
        at = found.end()
        if line[at:at + 2] != '="':
            wrong(line, "a label's value must be quoted")
        at += 2
        value = ""
        while line[at:at + 1] != '"':
            if at >= len(line):
                wrong(line, "a label's value has no end")
            if line[at] == "\\":
                if line[at:at + 2] not in ("\\\\", '\\"', "\\n"):
                    wrong(line, "an escape that is none")
                value += {"\\": "\\", '"': '"', "n": "\n"}[line[at + 1]]
                at += 2
            else:
                value += line[at]
                at += 1
        at += 1
        if found[0] in labels or found[0].startswith("__"):
            wrong(line, "a label's name comes twice or is reserved")
        labels[found[0]] = value
        if line[at:at + 1] == ",":
            at += 1
        elif line[at:at + 1] != "}":
            wrong(line, "labels are separated by commas")
    return labels, at + 1


def read_value(line, text):
    if text in ("+Inf", "-Inf", "NaN"):
        return float(text.replace("Inf", "inf"))
    if not re.fullmatch(r"[-+]?(\d+(\.\d*)?|\.\d+)([eE][-+]?\d+)?", text):
        wrong(line, "the value is no number")
    return float(text)


def read_sample(line):
    found = NAME.match(line)
    if not found:
        wrong(line, "a metric's name is malformed")
    at, labels = found.end(), {}
    if line[at:at + 1] == "{":
        labels, at = read_labels(line, at + 1)
    rest = line[at:]
    if not re.fullmatch(r" \S+", rest):
        wrong(line, "one space and one value must follow, without a timestamp")
    return found[0], labels, read_value(line, rest[1:])


def base_of(name, families):
    """The family that a sample belongs to."""
    if name in families:
        return name
    for suffix in ("_bucket", "_sum", "_count"):
        base = name.removesuffix(suffix)
        if base != name and families.get(base, {}).get("type") in ("histogram", "summary"):
            return base
    raise Malformed(f"{name} has no TYPE before it")


def parse(text):
    """{family: {"type", "help", "samples": {(name, labels as a sorted tuple): value}}}"""
    if not text.endswith("\n"):
        raise Malformed("the last line has no end")
    families, present = {}, None
    for line in text[:-1].split("\n"):
        if line.startswith("# HELP "):
            name, _, help_ = line[7:].partition(" ")
            if name in families or not NAME.fullmatch(name) or not help_.strip():
                wrong(line, "HELP comes twice, or is malformed or empty")
            families[name] = {"help": help_, "type": None, "samples": {}}
            present = name
        elif line.startswith("# TYPE "):
            name, _, type_ = line[7:].partition(" ")
            if name != present or families[name]["type"] or type_ not in TYPES:
                wrong(line, "TYPE must follow its HELP, once, and be one of the types")
            families[name]["type"] = type_
        elif line.startswith("#") or not line.strip():
            wrong(line, "neither HELP, TYPE nor a sample")
        else:
            name, labels, value = read_sample(line)
            base = base_of(name, families)
            if base != present or not families[base]["type"]:
                wrong(line, "samples stand together, after HELP and TYPE")
            key = (name, tuple(sorted(labels.items())))
            if key in families[base]["samples"]:
                wrong(line, "a series comes twice")
            families[base]["samples"][key] = value
    return families


def without(labels, name):
    return tuple(pair for pair in labels if pair[0] != name)


def check_histogram(name, samples):
    series = {}
    for (sample, labels), value in samples.items():
        kind = sample[len(name):]
        if kind not in ("_bucket", "_sum", "_count") or (("le" in dict(labels)) != (kind == "_bucket")):
            raise Malformed(f"{sample} does not belong in a histogram")
        series.setdefault(without(labels, "le"), {}).setdefault(kind, []).append((labels, value))
    for labels, parts in series.items():
        if set(parts) != {"_bucket", "_sum", "_count"}:
            raise Malformed(f"{name}{labels} lacks buckets, sum or count")
        buckets = [(float(dict(l)["le"].replace("Inf", "inf")), v) for l, v in parts["_bucket"]]
        bounds, counts = [b for b, _ in buckets], [v for _, v in buckets]
        if bounds != sorted(set(bounds)) or bounds[-1] != math.inf:
            raise Malformed(f"{name}{labels}: the bounds do not ascend to +Inf")
        if counts != sorted(counts) or counts[-1] != parts["_count"][0][1]:
            raise Malformed(f"{name}{labels}: buckets are not cumulative, or +Inf is not the count")
        if (parts["_sum"][0][1] > 0) and counts[-1] == 0:
            raise Malformed(f"{name}{labels}: a sum of nothing")


def check(families):
    """The rules beyond syntax."""
    for name, family in families.items():
        samples = family["samples"]
        if not samples or not family["type"]:
            raise Malformed(f"{name} has no samples or no type")
        if (family["type"] == "counter") != name.endswith("_total"):
            raise Malformed(f"{name}: counters, and only they, end in _total")
        if name.endswith(("_count", "_sum", "_bucket", "_info_total")) or name.endswith(UNITS_NOT_BASE):
            raise Malformed(f"{name}: that ending is kept for something else, or no base unit")
        if re.search(r"[A-Z:]", name) or family["type"] in name.split("_"):
            raise Malformed(f"{name}: lower case, no colon, and without its type")
        if family["type"] == "histogram":
            check_histogram(name, samples)
            continue
        for (sample, labels), value in samples.items():
            if sample != name or "le" in dict(labels) or "quantile" in dict(labels):
                raise Malformed(f"{sample}: le and quantile are kept for histograms and summaries")
            if math.isnan(value) or (family["type"] == "counter" and value < 0):
                raise Malformed(f"{sample}: {value}")


def growing(families):
    """{series: value} of what may never decrease."""
    found = {}
    for family in families.values():
        for (name, labels), value in family["samples"].items():
            if family["type"] == "counter" or (family["type"] == "histogram"):
                found[name, labels] = value
    return found
