"""Calls about what the flight recorder keeps."""

from collections.abc import Sequence

from l4lb.calls.call import Call, Listing
from l4lb.v1 import service_pb2
from l4lb.v1.dump_pb2 import Dump


def list_dumps(*, page_size: int = 0) -> Listing[Dump]:
    """Lists the files that the flight recorder wrote by itself, the oldest first, page by page."""

    def page(token: str) -> Call[tuple[Sequence[Dump], str]]:
        request = service_pb2.ListDumpsRequest(page_size=page_size, page_token=token)
        return Call("ListDumps", request, lambda response: (response.dumps, response.next_page_token))

    return Listing(page)
