"""What is asked of an etcd and answered: so much of its ``rpc.proto`` and ``kv.proto`` as the store needs.

They are described here, and not in modules that protoc has made: such modules ask for a protobuf no older than their protoc, and
put their names where those of any other etcd client in the program are. Fields that are not listed are passed over.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

from google.protobuf.descriptor_pb2 import DescriptorProto, FieldDescriptorProto, FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass

__all__ = ["METHODS", "KeyValue", "Method"]

_PACKAGE = "etcdserverpb"

# Of each message its fields: type, name, number. ``*``: there may be several. Those of a ``oneof`` stand beside the others,
# which is the same in bytes: a field that is zero or empty is not sent, and means that to etcd.
_MESSAGES: dict[str, tuple[tuple[str, str, int], ...]] = {
    "ResponseHeader": (("int64", "revision", 3),),
    "KeyValue": (
        ("bytes", "key", 1),
        ("int64", "mod_revision", 3),
        ("int64", "version", 4),
        ("bytes", "value", 5),
        ("int64", "lease", 6),
    ),
    "RangeRequest": (
        ("bytes", "key", 1),
        ("bytes", "range_end", 2),
        ("int64", "limit", 3),
        ("bool", "keys_only", 8),
        ("bool", "count_only", 9),
    ),
    "RangeResponse": (("KeyValue*", "kvs", 2), ("int64", "count", 4)),
    "PutRequest": (("bytes", "key", 1), ("bytes", "value", 2), ("int64", "lease", 3), ("bool", "prev_kv", 4)),
    "PutResponse": (("KeyValue", "prev_kv", 2),),
    "DeleteRangeRequest": (("bytes", "key", 1), ("bytes", "range_end", 2)),
    "DeleteRangeResponse": (("int64", "deleted", 2),),
    "RequestOp": (
        ("RangeRequest", "request_range", 1),
        ("PutRequest", "request_put", 2),
        ("DeleteRangeRequest", "request_delete_range", 3),
        ("TxnRequest", "request_txn", 4),
    ),
    "ResponseOp": (
        ("RangeResponse", "response_range", 1),
        ("PutResponse", "response_put", 2),
        ("DeleteRangeResponse", "response_delete_range", 3),
        ("TxnResponse", "response_txn", 4),
    ),
    # ``target``: what is compared, and has to be equal. 0 is the version, 2 the revision of the last change, 3 the value.
    "Compare": (
        ("int32", "target", 2),
        ("bytes", "key", 3),
        ("int64", "version", 4),
        ("int64", "mod_revision", 6),
        ("bytes", "value", 7),
    ),
    "TxnRequest": (("Compare*", "compare", 1), ("RequestOp*", "success", 2), ("RequestOp*", "failure", 3)),
    "TxnResponse": (("ResponseHeader", "header", 1), ("bool", "succeeded", 2), ("ResponseOp*", "responses", 3)),
    "LeaseGrantRequest": (("int64", "TTL", 1),),
    "LeaseGrantResponse": (("int64", "ID", 2),),
    "LeaseKeepAliveRequest": (("int64", "ID", 1),),
    "LeaseKeepAliveResponse": (("int64", "TTL", 3),),
    "LeaseRevokeRequest": (("int64", "ID", 1),),
    "LeaseRevokeResponse": (),
    "AuthenticateRequest": (("string", "name", 1), ("string", "password", 2)),
    "AuthenticateResponse": (("string", "token", 2),),
}  # fmt: skip

# What it is called, and its messages but for "Request" and "Response". One that renews a lease is a stream, in which one is sent.
_METHODS = {
    "KV/Range": "Range",
    "KV/Put": "Put",
    "KV/DeleteRange": "DeleteRange",
    "KV/Txn": "Txn",
    "Lease/LeaseGrant": "LeaseGrant",
    "Lease/LeaseKeepAlive": "LeaseKeepAlive",
    "Lease/LeaseRevoke": "LeaseRevoke",
    "Auth/Authenticate": "Authenticate",
}


class KeyValue(Protocol):
    """A key that is there."""

    key: bytes
    value: bytes
    version: int
    mod_revision: int
    lease: int


class Method(NamedTuple):
    """How something is asked: under which path; the request of these fields as bytes; the answer."""

    path: str
    request: Callable[..., Any]
    answer: Callable[[bytes], Any]


def _field(kind: str, name: str, number: int) -> FieldDescriptorProto:
    several, kind = kind.endswith("*"), kind.rstrip("*")
    field = FieldDescriptorProto(name=name, number=number)
    field.label = FieldDescriptorProto.LABEL_REPEATED if several else FieldDescriptorProto.LABEL_OPTIONAL
    if kind in _MESSAGES:
        field.type_name = f".{_PACKAGE}.{kind}"
    else:
        field.type = FieldDescriptorProto.Type.Value(f"TYPE_{kind.upper()}")
    return field


def _described(messages: dict[str, Sequence[tuple[str, str, int]]]) -> DescriptorPool:
    file = FileDescriptorProto(name="schedcore/etcd.proto", package=_PACKAGE, syntax="proto3")
    for name, fields in messages.items():
        file.message_type.append(DescriptorProto(name=name, field=[_field(*field) for field in fields]))
    pool = DescriptorPool()
    pool.Add(file)
    return pool


_POOL = _described(dict(_MESSAGES))


def _class(name: str) -> Any:
    return GetMessageClass(_POOL.FindMessageTypeByName(f"{_PACKAGE}.{name}"))


#: By what etcd calls them, with their service.
METHODS = {
    name: Method(f"/{_PACKAGE}.{name}", _class(f"{text}Request"), _class(f"{text}Response").FromString)
    for name, text in _METHODS.items()
}
