"""CBOR bodies for schemathesis, from any bytes that it makes; and the codes of refusals against the document."""

import schemathesis


@schemathesis.serializer("application/cbor", "application/ace+cbor")
def cbor(ctx, value):
    if isinstance(value, bytes):
        return value
    return str(value).encode()


@schemathesis.check
def refusal_codes_are_named(ctx, response, case):
    """A refusal has a code that its endpoint names (x-refusals); a method or a path that is not there has none."""
    if response.status_code < 400:
        return
    named = case.operation.definition.raw.get("x-refusals")
    if not named or response.status_code == 405:
        return
    kind = (response.headers.get("content-type") or [""])[0]
    if "json" not in kind:
        return
    code = response.json().get("code")
    if case.method.lower() != case.operation.method.lower():
        return
    assert code in named, f"{case.method} {case.operation.path} names no refusal {code}"
