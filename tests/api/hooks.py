"""What the contract says in words, since OpenAPI has no form for it.

A rejection is no failure if the request breaks a rule between parameters. The request is looked
at, not the answer, so a server that rejects more than it should is still found.
"""

from urllib.parse import parse_qs, urlsplit

import schemathesis
from schemathesis import GenerationMode
from schemathesis.openapi.checks import RejectedPositiveData


def is_upside_down(box):
    """Returns whether south is greater than north."""
    edges = box.split(",")
    return len(edges) == 4 and float(edges[1]) > float(edges[3])


@schemathesis.hook
def filter_failure(ctx, failure, case, response):
    if not isinstance(failure, RejectedPositiveData):
        return True
    # The phase "coverage" calls a case valid that has an invalid header (schemathesis 4.32).
    if any(part.mode == GenerationMode.NEGATIVE for part in case.meta.components.values()):
        return False
    url = urlsplit(response.request.url)
    query = parse_qs(url.query, keep_blank_values=True)
    has_center = url.path in ("/api/v1/near", "/api/v1/places")
    has_one = ("point" in query) != ("client" in query)
    is_invalid = (has_center and not has_one) or is_upside_down(query.get("bbox", [""])[0])
    return not is_invalid


@schemathesis.hook
def filter_query(ctx, query):
    """Omits what has no form in a query, such as a list in a list: it would be sent as another,
    perhaps valid, value."""
    values = (query or {}).values()
    items = [item for value in values for item in (value if isinstance(value, list) else [value])]
    return not any(isinstance(item, (list, dict)) for item in items)
