"""Writes docs/api.md: the comments of proto/l4lb/v1 as one page. Takes a descriptor set with source info; prints Markdown."""

import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    EnumDescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
    FileDescriptorSet,
)

_HEAD = """# The gRPC API

Generated from the comments in `proto/l4lb/v1` by `scripts/generate`: change them there.

Names of resources are `services/{service}`, `services/{service}/backends/{backend}` and `lists/{list}`. The shape follows the API
Improvement Proposals of aip.dev where they fit. `scripts/proto-check` keeps it from changing under clients.
"""
# Numbers of fields in descriptor.proto, which paths of source info are made of.
_MESSAGE, _ENUM, _SERVICE = 4, 5, 6
_FIELD, _NESTED_MESSAGE, _NESTED_ENUM, _VALUE, _METHOD = 2, 3, 4, 2, 2
_PACKAGE = ".l4lb.v1."
Comments = Mapping[tuple[int, ...], str]


def main(descriptors: str) -> None:
    """Prints the page for the descriptor set in the file `descriptors`."""
    files = FileDescriptorSet.FromString(Path(descriptors).read_bytes()).file
    ordered = sorted(files, key=lambda file: (not file.service, file.name))
    sections = [_HEAD, *(line for file in ordered for line in _file(file))]
    print("\n".join(sections).rstrip())


def _file(file: FileDescriptorProto) -> Iterator[str]:
    comments = {tuple(at.path): at.leading_comments for at in file.source_code_info.location}
    for i, service in enumerate(file.service):
        yield f"## {service.name}\n"
        yield _text(comments, (_SERVICE, i))
        for j, method in enumerate(service.method):
            yield f"### {method.name}\n"
            yield _text(comments, (_SERVICE, i, _METHOD, j))
            answer = f"a stream of {_link(method.output_type)}" if method.server_streaming else _link(method.output_type)
            yield f"Takes {_link(method.input_type)}, answers {answer}.\n"
    if not file.service:
        yield f"## {Path(file.name).stem.replace('_', ' ').capitalize()}\n"
    else:
        yield "## Requests and responses\n"
    for i, enum in enumerate(file.enum_type):
        yield from _enum(enum, enum.name, comments, (_ENUM, i))
    for i, message in enumerate(file.message_type):
        yield from _message(message, comments, (_MESSAGE, i))


def _message(message: DescriptorProto, comments: Comments, path: tuple[int, ...]) -> Iterator[str]:
    yield f"### {message.name}\n"
    yield _text(comments, path)
    maps = {f"{nested.name}": nested for nested in message.nested_type if nested.options.map_entry}
    rows = [
        (f"`{field.name}`", _type(field, maps), str(field.number), _line(comments, (*path, _FIELD, i)))
        for i, field in enumerate(message.field)
    ]
    if rows:
        yield _table(("field", "type", "number", "meaning"), rows)
    for i, enum in enumerate(message.enum_type):
        yield from _enum(enum, f"{message.name}.{enum.name}", comments, (*path, _NESTED_ENUM, i))


def _enum(enum: EnumDescriptorProto, name: str, comments: Comments, path: tuple[int, ...]) -> Iterator[str]:
    yield f"### {name}\n"
    yield _text(comments, path)
    rows = [(f"`{value.name}`", str(value.number), _line(comments, (*path, _VALUE, i))) for i, value in enumerate(enum.value)]
    yield _table(("value", "number", "meaning"), rows)


def _type(field: FieldDescriptorProto, maps: Mapping[str, DescriptorProto]) -> str:
    entry = maps.get(field.type_name.rsplit(".", 1)[-1])
    if entry is not None:
        key, value = (_type(part, {}) for part in entry.field)
        return f"map of {key} to {value}"
    name = _link(field.type_name) if field.type_name else FieldDescriptorProto.Type.Name(field.type).removeprefix("TYPE_").lower()
    if field.label == FieldDescriptorProto.LABEL_REPEATED:
        return f"list of {name}"
    return f"optional {name}" if field.proto3_optional else name


def _link(full_name: str) -> str:
    name = full_name.removeprefix(_PACKAGE)
    if full_name == name:
        return f"`{full_name.removeprefix('.')}`"
    return f"[{name}](#{name.lower().replace('.', '')})"


def _text(comments: Comments, path: tuple[int, ...]) -> str:
    lines = (line.removeprefix(" ") for line in comments.get(path, "").splitlines())
    return "\n".join(lines) + "\n"


def _line(comments: Comments, path: tuple[int, ...]) -> str:
    return " ".join(comments.get(path, "").split()).replace("|", "\\|")


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


if __name__ == "__main__":
    main(sys.argv[1])
