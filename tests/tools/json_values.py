"""Values drawn from a JSON schema of the kind that tools have, and values that lie just outside."""

import base64

import hypothesis.strategies as st

SCALARS = st.none() | st.booleans() | st.integers(-9, 9) | st.floats(-9, 9) | st.sampled_from(["", "a", "celsius", "A"])
ANYTHING = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("abx"), inner, max_size=3)
)
FORMATS = {
    "date-time": st.datetimes(timezones=st.timezones()).map(lambda when: when.isoformat(timespec="seconds")[:19] + "Z"),
    "date": st.dates().map(str),
    "time": st.times().map(lambda time: time.isoformat() + "Z"),
    "duration": st.builds("P{}DT{}H{}M".format, *[st.integers(0, 9)] * 3),
    "uuid": st.uuids().map(str),
}


def allowed(schema, root=None):
    """Return a strategy for the values that a schema allows."""
    root = root or schema
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return st.deferred(lambda: allowed(root["$defs"][name], root))
    if "anyOf" in schema:
        return st.one_of([allowed(option, root) for option in schema["anyOf"]])
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    if "type" not in schema:
        return ANYTHING
    kinds = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
    return st.one_of([KINDS[kind](schema, root) for kind in kinds])


def _integers(schema, _):
    whole = st.integers(schema.get("minimum", -(2**70)), schema.get("maximum", 2**70))
    return whole | whole.filter(lambda number: abs(number) < 2**50).map(float)  # 1.0 is an integer


def _numbers(schema, _):
    return st.floats(schema.get("minimum"), allow_nan=False, allow_infinity=False) | st.integers(-9, 9)


def _strings(schema, _):
    if "contentEncoding" in schema:
        return st.binary().map(lambda data: base64.b64encode(data).decode())
    if "format" in schema:
        return FORMATS[schema["format"]]
    low, high = schema.get("minLength", 0), schema.get("maxLength", 20)
    if "pattern" in schema:
        return st.from_regex(schema["pattern"]).filter(lambda text: low <= len(text) <= high)
    return st.text(min_size=low, max_size=high)


def _arrays(schema, root):
    if "prefixItems" in schema:
        return st.tuples(*[allowed(item, root) for item in schema["prefixItems"]]).map(list)
    item = allowed(schema.get("items", {}), root)
    low, high = schema.get("minItems", 0), schema.get("maxItems", 3)
    return st.lists(item, min_size=low, max_size=high, unique=schema.get("uniqueItems", False))


def _objects(schema, root):
    if "properties" not in schema:
        keys = st.from_regex(schema.get("propertyNames", {}).get("pattern", ""))
        return st.dictionaries(keys, allowed(schema.get("additionalProperties", {}), root), max_size=3)
    parts = {name: allowed(each, root) for name, each in schema["properties"].items()}
    needed = schema.get("required", [])
    optional = {name: part for name, part in parts.items() if name not in needed}
    return st.fixed_dictionaries({name: parts[name] for name in needed}, optional=optional)


KINDS = {
    "null": lambda *_: st.none(),
    "boolean": lambda *_: st.booleans(),
    "integer": _integers,
    "number": _numbers,
    "string": _strings,
    "array": _arrays,
    "object": _objects,
}


@st.composite
def changed(draw, schema):
    """Draw a value of a schema with one part replaced, removed or added; it is mostly outside the schema."""
    value = draw(allowed(schema))
    node, inner = value, value
    while isinstance(inner, dict | list):
        node = inner
        keys = sorted(node) if isinstance(node, dict) else list(range(len(node)))
        if not keys or draw(st.booleans()):
            break
        inner = node[draw(st.sampled_from(keys))]
    if isinstance(node, list):
        place = draw(st.integers(0, len(node)))
        node[place : place + draw(st.integers(0, 1))] = draw(st.lists(ANYTHING, max_size=2))
    elif node and draw(st.booleans()):
        del node[draw(st.sampled_from(sorted(node)))]
    else:
        node[draw(st.sampled_from([*sorted(node), "x"]))] = draw(ANYTHING)
    return value
