"""What every request is checked for."""

import hashlib

import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.field_mask_pb2 import FieldMask
from hypothesis import given
from hypothesis import strategies as st

from l4lb.v1 import backend_pb2, service_pb2
from l4lb_agent.api import fields
from l4lb_agent.model.errors import InvalidArgument

ID = "6fa459ea-ee8a-4ca4-894e-db77e160355e"


def test_the_hash_is_of_everything_but_the_request_id() -> None:
    def hashed(**given: object) -> str:
        return fields.request_hash(service_pb2.UndrainBackendRequest(**given))  # type: ignore[arg-type]

    assert hashed(name="a", request_id=ID) == hashed(name="a", request_id="") == hashed(name="a")
    assert len({hashed(name="a"), hashed(name="b"), hashed(name="a", etag="x"), hashed(name="a", validate_only=True)}) == 4
    assert fields.request_hash(service_pb2.RemoveBackendRequest(name="a")) != hashed(name="a"), "the kind of request counts"
    assert len(bytes.fromhex(hashed(name="a"))) == hashlib.sha256().digest_size


@given(st.permutations(range(20)))
def test_the_hash_does_not_depend_on_the_order_of_annotations(order: list[int]) -> None:
    request = service_pb2.AddBackendRequest(backend=backend_pb2.Backend(annotations={str(i): "x" for i in order}))
    reference = service_pb2.AddBackendRequest(backend=backend_pb2.Backend(annotations={str(i): "x" for i in range(20)}))
    assert fields.request_hash(request) == fields.request_hash(reference)


def test_request_ids_are_uuids_in_lower_case() -> None:
    assert fields.request_id(ID.upper()) == ID
    assert fields.request_id("") == ""
    for wrong in ("x", ID[:-1], ID.replace("-", ""), f"urn:uuid:{ID}", "00000000-0000-0000-0000-000000000000"):
        with pytest.raises(InvalidArgument):
            fields.request_id(wrong)


@given(st.integers(-(2**63), 2**63 - 1), st.integers(-(2**31), 2**31 - 1))
def test_whatever_numbers_a_duration_has_it_is_within_bounds_or_refused(whole: int, nanos: int) -> None:
    duration = Duration(seconds=whole, nanos=nanos)
    total = whole + nanos / 1e9
    if abs(nanos) < 10**9 and whole * nanos >= 0 and 1 <= total <= 3600:
        assert fields.seconds(duration, 1, 3600, "x") == total
        return
    with pytest.raises(InvalidArgument) as refused:
        fields.seconds(duration, 1, 3600, "x")
    assert refused.value.field == "x"


def test_what_is_unknown_deep_inside_is_named_with_its_place() -> None:
    response = service_pb2.ListBackendsResponse(backends=[backend_pb2.Backend(), backend_pb2.Backend(weight=4)])
    fields.known(response)
    response.backends[1].drain.result = 99  # type: ignore[assignment]
    with pytest.raises(InvalidArgument) as refused:
        fields.known(response)
    assert refused.value.field == "backends[1].drain.result"


def test_masks_name_fields_that_are_set_all_or_chosen() -> None:
    message = backend_pb2.Backend(name="n", address="a", weight=0, etag="e")

    def masked(*paths: str) -> set[str]:
        return fields.masked(message, FieldMask(paths=paths), {"address", "weight", "port"}, {"drain"}, "update_mask")

    assert masked() == {"address", "weight"}
    assert masked("*") == {"address", "weight", "port"}
    assert masked("port", "etag", "drain") == {"port", "drain"}
    for wrong in (("*", "port"), ("nothing",), ("drain.result",)):
        with pytest.raises(InvalidArgument) as refused:
            masked(*wrong)
        assert refused.value.field == "update_mask"
