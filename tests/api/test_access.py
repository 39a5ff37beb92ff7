"""Who may use a virtual service, through the API, the client and l4lbctl."""

import re
from pathlib import Path
from typing import Any

import pytest

import l4lb
from l4lb.v1 import prefix_list_pb2 as lists
from l4lb.v1 import service_pb2 as pb
from l4lb.v1 import virtual_service_pb2 as v
from tests.api.conftest import Agent
from tests.api.test_choice import WEB, create, ctl, refusal

FULL = v.NewFlowLimit(
    per_service=v.FlowRate(flows_per_second=100, burst=300), per_source=v.FlowRate(flows_per_second=7, burst=9), prefix_v4=24, prefix_v6=48
)


def update(limit: v.NewFlowLimit | None, *paths: str) -> pb.UpdateVirtualServiceRequest:
    request = pb.UpdateVirtualServiceRequest(service=v.VirtualService(name=WEB, new_flow_limit=limit))
    request.update_mask.paths.extend(paths)
    return request


def test_a_service_without_limits_shows_none(stub: Any) -> None:
    assert not stub.CreateVirtualService(create()).service.HasField("new_flow_limit")
    assert not stub.UpdateVirtualService(update(v.NewFlowLimit())).service.HasField("new_flow_limit")


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        (FULL, FULL),
        (
            v.NewFlowLimit(per_source=v.FlowRate(flows_per_second=50)),
            v.NewFlowLimit(per_source=v.FlowRate(flows_per_second=50, burst=50), prefix_v4=32, prefix_v6=64),
        ),
        (
            v.NewFlowLimit(per_service=v.FlowRate(flows_per_second=50), prefix_v6=128),
            v.NewFlowLimit(per_service=v.FlowRate(flows_per_second=50, burst=50), prefix_v4=32, prefix_v6=128),
        ),
    ],
)
def test_limits_show_what_was_left_out(stub: Any, given: v.NewFlowLimit, shown: v.NewFlowLimit) -> None:
    assert stub.CreateVirtualService(create(new_flow_limit=given)).service.new_flow_limit == shown
    assert stub.GetVirtualService(pb.GetVirtualServiceRequest(name=WEB)).service.new_flow_limit == shown


def test_an_update_replaces_all_limits_and_a_mask_without_them_takes_them_away(stub: Any) -> None:
    stub.CreateVirtualService(create(new_flow_limit=FULL))
    one = v.NewFlowLimit(per_service=v.FlowRate(flows_per_second=5, burst=5), prefix_v4=32, prefix_v6=64)
    assert stub.UpdateVirtualService(update(one)).service.new_flow_limit == one
    assert stub.UpdateVirtualService(update(None, "annotations")).service.new_flow_limit == one
    assert not stub.UpdateVirtualService(update(None, "new_flow_limit")).service.HasField("new_flow_limit")


@pytest.mark.parametrize(
    ("given", "field"),
    [
        (v.NewFlowLimit(per_service=v.FlowRate()), "per_service.flows_per_second"),
        (v.NewFlowLimit(per_source=v.FlowRate(flows_per_second=100_001)), "per_source.flows_per_second"),
        (v.NewFlowLimit(per_source=v.FlowRate(flows_per_second=10_000, burst=99)), "per_source.burst"),
        (v.NewFlowLimit(per_service=v.FlowRate(flows_per_second=1), prefix_v4=33), "prefix_v4"),
    ],
)
def test_a_limit_that_cannot_be_is_refused_and_changes_nothing(stub: Any, given: v.NewFlowLimit, field: str) -> None:
    stub.CreateVirtualService(create(new_flow_limit=FULL))
    error = refusal(stub.UpdateVirtualService, update(given))
    assert (error.code, error.field) == ("INVALID_ARGUMENT", f"service.new_flow_limit.{field}")
    assert stub.GetVirtualService(pb.GetVirtualServiceRequest(name=WEB)).service.new_flow_limit == FULL


def test_the_client_and_l4lbctl_set_limits(agent: Agent, client: l4lb.Client) -> None:
    asked = {"per_source": {"flows_per_second": 20}, "prefix_v4": 24}
    made = client.create_service("a", vip="10.0.0.1", port=80, new_flow_limit=asked)
    assert (made.new_flow_limit.per_source.burst, made.new_flow_limit.prefix_v4) == (20, 24)
    assert not client.update_service("a", new_flow_limit={}).HasField("new_flow_limit")
    limits = "--new-flow-limit 100:300 --source-flow-limit 7:9 --source-prefix-v4 24 --source-prefix-v6 48"
    ctl(agent, f"service create b --vip 10.0.0.1 --port 81 {limits}")
    assert client.get_service("b").new_flow_limit == FULL
    ctl(agent, "service update b --source-flow-limit 5")
    assert client.get_service("b").new_flow_limit.per_source.burst == 5
    assert not client.get_service("b").new_flow_limit.HasField("per_service")
    ctl(agent, "service update b --no-limits")
    assert not client.get_service("b").HasField("new_flow_limit")


@pytest.mark.parametrize("words", ["--new-flow-limit many", "--new-flow-limit 5:", "--no-limits --new-flow-limit 5", ""])
def test_l4lbctl_refuses_what_makes_no_limit(agent: Agent, words: str) -> None:
    with pytest.raises(AssertionError, match=r"RATE:BURST|--no-limits"):
        ctl(agent, f"service update web {words}")


LIST = "lists/bad"


def make_list(*prefixes: str, list_id: str = "bad", **given: Any) -> pb.CreatePrefixListRequest:
    return pb.CreatePrefixListRequest(list_id=list_id, list=lists.PrefixList(prefixes=prefixes, **given))


def change_list(*paths: str, add: list[str] | None = None, remove: list[str] | None = None, **given: Any) -> pb.UpdatePrefixListRequest:
    request = pb.UpdatePrefixListRequest(list=lists.PrefixList(**{"name": LIST, **given}), add_prefixes=add, remove_prefixes=remove)
    request.update_mask.paths.extend(paths)
    return request


def prefixes(stub: Any, name: str = LIST) -> list[str]:
    return list(stub.GetPrefixList(pb.GetPrefixListRequest(name=name)).list.prefixes)


def test_a_list_is_told_sorted_and_as_it_is_written_canonically(stub: Any) -> None:
    made = stub.CreatePrefixList(make_list("2001:DB8::/32", "10.0.0.9", "10.0.0.0/8", "10.0.0.9/32", "::1", annotations={"a": "b"})).list
    assert (made.name, made.prefix_count, list(made.prefixes), dict(made.annotations)) == (LIST, 4, [], {"a": "b"})
    assert prefixes(stub) == ["10.0.0.0/8", "10.0.0.9/32", "::1/128", "2001:db8::/32"]
    assert (made.etag, made.revision, made.HasField("create_time")) == ('"1"', 1, True)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "neither a prefix"),
        ("10.0.0.0/33", "neither a prefix"),
        ("10.0.0/24", "neither a prefix"),
        ("somewhere", "neither a prefix"),
        ("10.0.0.1/8", "10.0.0.0/8 is the prefix around it"),
        ("2001:db8::1/32", "2001:db8::/32 is the prefix around it"),
        ("::ffff:10.0.0.0/104", "IPv4 written as IPv6"),
        ("::ffff:10.0.0.1", "IPv4 written as IPv6"),
        ("fe80::1%eth0", "without a zone|zone"),
        ("10.0.0.0/255.0.0.0/8", "neither a prefix"),
        (" 10.0.0.0/8", "neither a prefix"),
    ],
)
def test_what_is_no_prefix_is_refused_by_its_place_and_changes_nothing(stub: Any, text: str, why: str) -> None:
    error = refusal(stub.CreatePrefixList, make_list("10.0.0.0/8", text))
    assert (error.code, error.reason, error.field) == ("INVALID_ARGUMENT", "INVALID_PREFIX", "list.prefixes[1]")
    assert re.search(why, error.message)
    assert not stub.ListPrefixLists(pb.ListPrefixListsRequest()).lists
    stub.CreatePrefixList(make_list("10.0.0.0/8"))
    for field in ("add", "remove"):
        error = refusal(stub.UpdatePrefixList, change_list(**{field: [text]}))
        assert error.field == f"{field}_prefixes[0]"
    assert prefixes(stub) == ["10.0.0.0/8"]


def test_prefixes_are_added_removed_and_replaced(stub: Any) -> None:
    stub.CreatePrefixList(make_list("10.0.0.0/8", "10.1.0.0/16"))
    stub.UpdatePrefixList(change_list(add=["192.0.2.7", "10.0.0.0/8"], remove=["10.1.0.0/16", "203.0.113.0/24"]))
    assert prefixes(stub) == ["10.0.0.0/8", "192.0.2.7/32"]
    stub.UpdatePrefixList(change_list("prefixes", prefixes=["2001:db8::/32", "10.9.0.0/16"], add=["::/0"], remove=["10.9.0.0/16"]))
    assert prefixes(stub) == ["::/0", "2001:db8::/32"]
    stub.UpdatePrefixList(change_list("prefixes"))
    assert prefixes(stub) == []


def test_a_prefix_cannot_be_added_and_removed_at_once(stub: Any) -> None:
    stub.CreatePrefixList(make_list("10.0.0.0/8"))
    error = refusal(stub.UpdatePrefixList, change_list(add=["10.1.0.0/16"], remove=["10.1.0.0/16"]))
    assert (error.reason, error.field, error.metadata["prefix"]) == ("FIELDS_CONTRADICT", "remove_prefixes", "10.1.0.0/16")


def test_annotations_change_and_prefixes_stay(stub: Any) -> None:
    stub.CreatePrefixList(make_list("10.0.0.0/8", annotations={"a": "b"}))
    changed = stub.UpdatePrefixList(change_list("annotations", annotations={"c": "d"})).list
    assert (dict(changed.annotations), prefixes(stub)) == ({"c": "d"}, ["10.0.0.0/8"])


def test_a_list_has_a_name_like_other_resources(stub: Any) -> None:
    error = refusal(stub.CreatePrefixList, make_list(list_id="Bad"))
    assert (error.code, error.field) == ("INVALID_ARGUMENT", "list_id")
    assert refusal(stub.GetPrefixList, pb.GetPrefixListRequest(name="services/web")).reason == "INVALID_NAME"
    assert refusal(stub.GetPrefixList, pb.GetPrefixListRequest(name=LIST)).code == "NOT_FOUND"
    stub.CreatePrefixList(make_list())
    assert refusal(stub.CreatePrefixList, make_list()).code == "ALREADY_EXISTS"
    assert refusal(stub.CreatePrefixList, pb.CreatePrefixListRequest(list_id="none")).field == "list"


def test_an_old_etag_changes_nothing(stub: Any) -> None:
    made = stub.CreatePrefixList(make_list("10.0.0.0/8")).list
    stub.UpdatePrefixList(change_list(add=["10.1.0.0/16"], etag=made.etag))
    assert refusal(stub.UpdatePrefixList, change_list(add=["10.2.0.0/16"], etag=made.etag)).code == "ABORTED"
    assert refusal(stub.DeletePrefixList, pb.DeletePrefixListRequest(name=LIST, etag=made.etag)).code == "ABORTED"
    assert prefixes(stub) == ["10.0.0.0/8", "10.1.0.0/16"]


def test_a_missing_list_is_made_when_that_is_allowed(stub: Any) -> None:
    asked = change_list(add=["10.1.0.0/16"], prefixes=["10.0.0.0/8"])
    assert refusal(stub.UpdatePrefixList, asked).code == "NOT_FOUND"
    asked.allow_missing = True
    stub.UpdatePrefixList(asked)
    assert prefixes(stub) == ["10.0.0.0/8", "10.1.0.0/16"]


def test_validate_only_changes_no_list(stub: Any) -> None:
    asked = make_list("10.0.0.0/8")
    asked.validate_only = True
    assert stub.CreatePrefixList(asked).list.prefix_count == 1
    assert refusal(stub.GetPrefixList, pb.GetPrefixListRequest(name=LIST)).code == "NOT_FOUND"


def test_lists_are_listed_page_by_page_without_prefixes(stub: Any) -> None:
    for number in range(5):
        stub.CreatePrefixList(make_list("10.0.0.0/8", list_id=f"l{number}"))
    token, found = "", []
    while True:
        page = stub.ListPrefixLists(pb.ListPrefixListsRequest(page_size=2, page_token=token))
        found += [(one.name, one.prefix_count, len(one.prefixes)) for one in page.lists]
        token = page.next_page_token
        if not token:
            break
    assert found == [(f"lists/l{number}", 1, 0) for number in range(5)]


def test_a_list_that_a_service_names_is_not_deleted(stub: Any) -> None:
    for name in ("bad", "good"):
        stub.CreatePrefixList(make_list(list_id=name))
    made = stub.CreateVirtualService(create(deny_list=LIST, allow_list="lists/good")).service
    assert (made.allow_list, made.deny_list) == ("lists/good", LIST)
    error = refusal(stub.DeletePrefixList, pb.DeletePrefixListRequest(name=LIST))
    assert (error.code, error.reason) == ("FAILED_PRECONDITION", "LIST_IN_USE")
    assert "services/web" in error.message
    request = pb.UpdateVirtualServiceRequest(service=v.VirtualService(name=WEB))
    request.update_mask.paths.append("deny_list")
    assert stub.UpdateVirtualService(request).service.deny_list == ""
    stub.DeletePrefixList(pb.DeletePrefixListRequest(name=LIST))
    assert refusal(stub.DeletePrefixList, pb.DeletePrefixListRequest(name=LIST)).code == "NOT_FOUND"
    stub.DeletePrefixList(pb.DeletePrefixListRequest(name=LIST, allow_missing=True))


@pytest.mark.parametrize(
    ("given", "code", "field"),
    [
        ({"allow_list": "lists/none"}, "NOT_FOUND", "service.allow_list"),
        ({"deny_list": "lists/none"}, "NOT_FOUND", "service.deny_list"),
        ({"deny_list": "none"}, "INVALID_ARGUMENT", "service.deny_list"),
        ({"allow_list": "services/web"}, "INVALID_ARGUMENT", "service.allow_list"),
        ({"allow_list": LIST, "deny_list": LIST}, "INVALID_ARGUMENT", "service.deny_list"),
    ],
)
def test_a_service_names_lists_that_are_there_and_two_different_ones(stub: Any, given: dict[str, str], code: str, field: str) -> None:
    stub.CreatePrefixList(make_list())
    error = refusal(stub.CreateVirtualService, create(**given))
    assert (error.code, error.field) == (code, field)
    stub.CreateVirtualService(create())
    asked = pb.UpdateVirtualServiceRequest(service=v.VirtualService(name=WEB, **given))
    assert refusal(stub.UpdateVirtualService, asked).field == field


def test_as_many_prefixes_as_a_list_may_have_fit_into_one_message(stub: Any) -> None:
    texts = [f"2001:db8:{n:x}:ffff:ffff:ffff:ffff:ffff" for n in range(50_000)]
    assert stub.CreatePrefixList(make_list(*texts)).list.prefix_count == 50_000
    assert len(prefixes(stub)) == 50_000
    error = refusal(stub.UpdatePrefixList, change_list(add=["10.0.0.0/8"]))
    assert (error.code, error.reason) == ("RESOURCE_EXHAUSTED", "LIST_TOO_LONG")


def test_the_client_and_l4lbctl_keep_lists(agent: Agent, client: l4lb.Client, tmp_path: Path) -> None:
    file = tmp_path / "prefixes"
    file.write_text("# offices\n192.0.2.0/24\n\n2001:db8::/32  # six\n")
    client.create_list("good", prefixes=["10.0.0.0/8"])
    ctl(agent, f"list create bad --prefix 10.0.0.9 --from {file} --annotate by=me")
    assert list(client.get_list("bad").prefixes) == ["10.0.0.9/32", "192.0.2.0/24", "2001:db8::/32"]
    assert [one.name for one in client.list_lists()] == ["lists/bad", "lists/good"]
    ctl(agent, "service create web --vip 10.0.0.1 --port 80 --allow-list good --deny-list bad")
    assert client.get_service("web").deny_list == "lists/bad"
    ctl(agent, "list update bad --add 10.1.0.0/16 --remove 10.0.0.9/32")
    shown = ctl(agent, "list show bad")
    assert shown.splitlines()[-3:] == ["10.1.0.0/16", "192.0.2.0/24", "2001:db8::/32"]
    assert "web" in ctl(agent, "list list")
    ctl(agent, f"list update bad --replace-from {file}")
    assert client.get_list("bad").prefix_count == 2
    ctl(agent, "service update web --no-allow-list --no-deny-list")
    assert client.get_service("web").allow_list == client.get_service("web").deny_list == ""
    ctl(agent, "list delete bad")
    assert client.update_list("good", prefixes=[], add=["10.2.0.0/16"]).prefix_count == 1
    client.delete_list("good")
    assert not list(client.list_lists())


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("service update web --no-deny-list --deny-list bad", "takes away"),
        ("list update bad", "nothing to change"),
        ("list create a/b", "name of a list"),
    ],
)
def test_l4lbctl_refuses_what_makes_no_sense(agent: Agent, line: str, why: str) -> None:
    with pytest.raises(AssertionError, match=why):
        ctl(agent, line)
